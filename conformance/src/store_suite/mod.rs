//! The cases of the contract of a store ([`msglog_core::store`]), in groups.

pub mod append_read;
pub mod cancellation;
pub mod capabilities;
pub mod concurrency;
pub mod crash;
mod damage;
pub mod documents;
pub mod lifecycle;
pub mod limits;
pub mod model;
pub mod optional;
pub mod ownership;
pub mod power;
pub mod trim;

use crate::Case;

/// Every group of the suite, in the order of reports.
pub const GROUPS: &[&[Case]] = &[
    append_read::CASES,
    lifecycle::CASES,
    cancellation::CASES,
    concurrency::CASES,
    trim::CASES,
    documents::CASES,
    capabilities::CASES,
    optional::CASES,
    limits::CASES,
    model::CASES,
    crash::CASES,
    power::CASES,
    ownership::CASES,
];
