//! Lets the program's own `getrandom` be found by crates that look it up when they run.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=getrandom");
}
