//! The supervisor, over fakes and with everything that is real.

mod host;
mod nodes;
mod real;
