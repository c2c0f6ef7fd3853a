//! Part of msglog.
