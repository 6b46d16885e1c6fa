//! What an index file holds comes back, and what no index wrote does no harm.
#![no_main]

use aeterna_index::fuzzing;
use libfuzzer_sys::fuzz_target;

/// More than a unit has.
const MOST: usize = 64 << 10;

fuzz_target!(|input: (u8, &[u8], &[u8], &[u8], Vec<u32>, u16)| {
    let (choice, first, second, third, numbers, units) = input;
    if first.len().max(second.len()).max(third.len()) > MOST || numbers.len() > 64 {
        return;
    }
    match choice % 5 {
        0 => fuzzing::unit(first, second, third),
        1 => {
            let path = std::env::temp_dir().join(format!("aeterna-fuzz-{}", std::process::id()));
            fuzzing::lists(&path, &numbers, first, units);
        }
        2 => fuzzing::symbols(first),
        3 => fuzzing::key(first),
        _ => fuzzing::cursor(first),
    }
});
