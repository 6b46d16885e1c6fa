//! Which licence a text is, by sentences that only it has.
//!
//! Only whole well-known texts are told apart; anything else is no licence rather than a guess.

/// Bytes of a licence file that are read.
pub(crate) const MAX_TEXT: u64 = 256 << 10;

/// SPDX identifiers with what their text must and must not hold, the more specific first. Compared
/// in lower case with every run of white space as one space.
const TEXTS: &[(&str, &[&str], &[&str])] = &[
    ("AGPL-3.0", &["gnu affero general public license version 3"], &[]),
    ("LGPL-3.0", &["gnu lesser general public license version 3"], &[]),
    ("LGPL-2.1", &["gnu lesser general public license version 2.1"], &[]),
    ("GPL-3.0", &["gnu general public license version 3"], &[]),
    ("GPL-2.0", &["gnu general public license version 2"], &[]),
    ("Apache-2.0", &["apache license version 2.0"], &[]),
    ("MPL-2.0", &["mozilla public license", "2.0"], &[]),
    ("EPL-2.0", &["eclipse public license - v 2.0"], &[]),
    ("BSL-1.0", &["boost software license - version 1.0"], &[]),
    ("CC0-1.0", &["cc0 1.0 universal"], &[]),
    ("Unlicense", &["this is free and unencumbered software released into the public domain"], &[]),
    (
        "ISC",
        &["permission to use, copy, modify, and", "distribute this software for any purpose"],
        &["redistributions of source code"],
    ),
    (
        "BSD-3-Clause",
        &["redistributions of source code", "redistributions in binary form", "neither the name"],
        &["advertising materials"],
    ),
    (
        "BSD-2-Clause",
        &["redistributions of source code", "redistributions in binary form"],
        &["advertising materials", "neither the name"],
    ),
    (
        "MIT",
        &["permission is hereby granted, free of charge", "the software is provided \"as is\""],
        &["advertising"],
    ),
    ("Zlib", &["this software is provided 'as-is'", "altered source versions"], &[]),
];

/// Whether a file of a repository's root is named as a licence is.
pub(crate) fn is_license_file(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    ["license", "licence", "copying", "unlicense"]
        .iter()
        .any(|word| name.starts_with(word.as_bytes()))
}

/// The SPDX identifier of a text, or of what it declares itself to be.
pub(crate) fn detect(text: &str) -> Option<&'static str> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let text = text.replace(", version", " version");
    let declared = text.split_once("spdx-license-identifier: ").map(|(_, rest)| rest);
    if let Some(declared) = declared.and_then(|rest| rest.split(' ').next()) {
        let base = declared.trim_end_matches("-only").trim_end_matches("-or-later");
        if let Some((id, _, _)) = TEXTS.iter().find(|(id, _, _)| id.to_lowercase() == base) {
            return Some(id);
        }
    }
    TEXTS
        .iter()
        .find(|(_, with, without)| {
            with.iter().all(|part| text.contains(part))
                && !without.iter().any(|part| text.contains(part))
        })
        .map(|(id, _, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::detect;

    #[test]
    fn texts_are_told_apart() {
        let bsd = "Redistributions of source code must …\n Redistributions in binary form …";
        assert_eq!(detect(bsd), Some("BSD-2-Clause"));
        assert_eq!(detect(&format!("{bsd}\nNeither the name of")), Some("BSD-3-Clause"));
        assert_eq!(detect("  Apache License\n   Version 2.0, January 2004"), Some("Apache-2.0"));
        assert_eq!(detect("GNU GENERAL PUBLIC LICENSE\n  Version 2, June 1991"), Some("GPL-2.0"));
        assert_eq!(
            detect("GNU LESSER GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007"),
            Some("LGPL-3.0")
        );
        assert_eq!(detect("SPDX-License-Identifier: GPL-3.0-or-later"), Some("GPL-3.0"));
        assert_eq!(detect("All rights reserved."), None);
    }
}
