//! What a file's bytes are: text to index, or something that is listed and left out.

use crate::document::OmitReason;

/// Bytes that are looked at for a NUL, as git does (`buffer_is_binary`, xdiff-interface.c).
const BINARY_PROBE: usize = 8_000;
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Git LFS: a pointer file is smaller than this.
const LFS_POINTER_BYTES: usize = 1_024;

/// Decides on a content; UTF-16 with a byte-order mark is replaced by its UTF-8 form.
///
/// Text in other encodings, Latin-1 for one, stays as it is: bytes are searched, and what is not
/// UTF-8 matches no character.
pub(crate) fn classify(content: &mut Vec<u8>) -> Option<OmitReason> {
    if content.len() < LFS_POINTER_BYTES && content.starts_with(LFS_POINTER) {
        return Some(OmitReason::LfsPointer);
    }
    let transcoded = match content.get(..2) {
        Some([0xff, 0xfe]) => transcode(&content[2..], u16::from_le_bytes),
        Some([0xfe, 0xff]) => transcode(&content[2..], u16::from_be_bytes),
        _ => None,
    };
    if let Some(text) = transcoded {
        *content = text;
        return None;
    }
    memchr::memchr(0, &content[..content.len().min(BINARY_PROBE)]).map(|_| OmitReason::Binary)
}

/// UTF-16 to UTF-8; `None` where it is no UTF-16 text, so that the binary check decides.
fn transcode(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Vec<u8>> {
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let units = pairs.map(|pair| unit([pair[0], pair[1]]));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.ok().filter(|text| !text.contains('\0')).map(String::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(content: &[u8]) -> (Option<OmitReason>, Vec<u8>) {
        let mut content = content.to_vec();
        (classify(&mut content), content)
    }

    #[test]
    fn kinds_of_content() {
        assert_eq!(decide(b"plain\r\n"), (None, b"plain\r\n".to_vec()));
        assert_eq!(decide(b"caf\xe9"), (None, b"caf\xe9".to_vec()), "Latin-1 stays as it is");
        assert_eq!(decide(b"\xff\xfeh\0\xe9\0"), (None, "hé".as_bytes().to_vec()));
        assert_eq!(decide(b"\xfe\xff\0h\0\xe9"), (None, "hé".as_bytes().to_vec()));
        assert_eq!(decide(b"\xff\xfeh\0\0").0, Some(OmitReason::Binary), "odd length");
        assert_eq!(decide(b"a\0b").0, Some(OmitReason::Binary));
        assert_eq!(decide(b"").0, None);
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        assert_eq!(decide(pointer).0, Some(OmitReason::LfsPointer));
    }

    #[test]
    fn a_late_nul_is_text() {
        let mut content = vec![b'a'; BINARY_PROBE];
        content.push(0);
        assert_eq!(decide(&content).0, None);
    }
}
