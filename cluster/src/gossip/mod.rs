//! Who is alive, where, and with what load.

pub mod seal;

