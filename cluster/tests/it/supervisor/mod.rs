//! The supervisor, over fakes and with everything that is real.

mod fakes;
mod host;
mod nodes;
mod real;
mod router;
mod tasks;
