//! The binary `aeterna`: configuration, command line, HTTP API and telemetry, and the only place
//! where the parts are wired together.

mod api;
mod cli;
mod cluster;
mod config;
mod files;
mod first_index;
mod gather;
mod http;
mod serve;
mod stop;
mod telemetry;

fn main() -> std::process::ExitCode {
    cli::main()
}
