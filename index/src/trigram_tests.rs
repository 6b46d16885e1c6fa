#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use super::*;

fn folded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    fold_text(text, &mut out);
    out
}

fn orbit(c: char) -> Vec<char> {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
    class.try_case_fold_simple().unwrap();
    class.iter().flat_map(|range| range.start()..=range.end()).collect()
}

#[test]
fn every_character_of_an_orbit_folds_to_the_same_member() {
    for c in '\0'..=char::MAX {
        let orbit = orbit(c);
        let mut buffer = [0; 4];
        let by_text = folded(c.encode_utf8(&mut buffer).as_bytes());
        let expected = fold_char(orbit[0]);
        assert!(orbit.contains(&expected), "{c:?} folds to {expected:?}");
        assert_eq!(fold_char(c), expected, "fold_char({c:?})");
        assert_eq!(by_text, expected.to_string().as_bytes(), "fold_text({c:?})");
    }
}

#[test]
fn the_tables_are_those_of_this_version() {
    let mut bytes = FOLD_BYTE.to_vec();
    for c in '\0'..=char::MAX {
        bytes.extend_from_slice(&u32::from(fold_char(c)).to_le_bytes());
    }
    assert_eq!(
        (FOLD_VERSION, xxhash_rust::xxh3::xxh3_64(&bytes)),
        (1, 13_482_560_325_790_754_323),
        "the folding changed: raise FOLD_VERSION, and write the new digest here"
    );
}

#[test]
fn text_is_folded_as_simple_folding_says() {
    for (text, expected) in [
        ("STRASSE", "strasse"),
        ("Straße", "straße"),
        ("STRAẞE", "straße"),
        ("É", "é"),
        ("ſ\u{212A}", "sk"),
        ("ΣΊΣΥΦΟΣ ς", "σίσυφοσ σ"),
        ("ПРИВЕТ", "привет"),
        ("İi", "İi"),
        ("\u{B5}", "μ"),
    ] {
        assert_eq!(String::from_utf8(folded(text.as_bytes())).unwrap(), expected);
    }
}

#[test]
fn bytes_that_are_not_utf8_stay() {
    assert_eq!(folded(b"A\xFF\xC3\x89\xE2\x84Z\xC3"), b"a\xFF\xC3\xA9\xE2\x84z\xC3");
}

#[test]
fn high_bytes_share_no_slot_with_text() {
    for byte in 0x80..=0xFF {
        assert!(!is_text_slot(fold_byte(byte)), "{byte:02X}");
    }
    let text: BTreeSet<u8> = (0..=0x7F).filter(|byte| is_text_slot(*byte)).collect();
    for byte in 0..=0x7Fu8 {
        let slot = fold_byte(byte);
        assert!(slot < 128);
        assert_eq!(text.contains(&slot), !byte.is_ascii_control() || text.contains(&byte));
    }
}

#[test]
fn a_gram_is_its_slots() {
    let gram = gram(b'F', b'o', 0xC3);
    assert_eq!(gram, Gram::from_slots(b'f', b'o', fold_byte(0xC3)));
    assert_eq!(Gram::from_number(gram.number()), Some(gram));
    assert_eq!(Gram::from_number(GRAM_COUNT), None);
    assert_eq!(gram.to_string(), "\"fo\\xC3\"");
    assert_eq!(super::gram(b'"', b'\n', b'\\').to_string(), r#""\"\n\\""#);
}
