//! Keeping secrets out of what is shown.

/// `scheme://user:password@host?password=…` with stars in place of passwords; other text as it is.
///
/// ```
/// use aeterna_repo::mask_password;
///
/// assert_eq!(mask_password("https://me:secret@host/a/b"), "https://me:***@host/a/b");
/// assert_eq!(mask_password("owner/name"), "owner/name");
/// ```
pub fn mask_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // The last `@` ends the user part; a password may itself hold one that was not escaped, and
    // then also a `/`, so everything up to the last `@` of the whole is treated as secret.
    let masked = match rest.rfind('@') {
        Some(at) => {
            let user = rest[..at].split(':').next().unwrap_or_default();
            let secret = if rest[..at].contains(':') { ":***" } else { "" };
            format!("{user}{secret}@{}", mask_parameters(&rest[at + 1..]))
        }
        None => {
            format!("{}{}", &rest[..authority_end], mask_parameters(&rest[authority_end..]))
        }
    };
    format!("{scheme}://{masked}")
}

fn mask_parameters(rest: &str) -> String {
    let Some((path, query)) = rest.split_once('?') else {
        return rest.to_owned();
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("password") => {
                format!("{name}=***")
            }
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_go_and_all_else_stays() {
        for (url, shown) in [
            ("https://me:hunter2@host/a/b", "https://me:***@host/a/b"),
            (
                "https://host/a/b?token_password=hunter2&x=1",
                "https://host/a/b?token_password=***&x=1",
            ),
            ("https://host:8080/a/b", "https://host:8080/a/b"),
            ("git@host:a/b", "git@host:a/b"),
            ("owner/name", "owner/name"),
        ] {
            assert_eq!(mask_password(url), shown);
        }
    }
}
