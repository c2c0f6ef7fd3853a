//! What `migrate` leaves at the destination is the source, and it refuses what it cannot keep.

mod places;
mod refused;
mod resumed;
mod whole;
