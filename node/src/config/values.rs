//! How single settings are read from text and shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use aeterna_repo::mask_password;

/// Inclusive bounds of a number.
pub type Bounds = Option<(u64, u64)>;

/// A value that a setting can have.
pub trait Setting: Sized {
    /// Whether the file writes it without quotes.
    const BARE: bool = false;

    /// Reads it; the error says what was expected.
    fn parse(text: &str, bounds: Bounds) -> Result<Self, String>;

    /// The value as text that [`Setting::parse`] would read, with secrets masked.
    fn show(&self) -> String;
}

impl Setting for u64 {
    const BARE: bool = true;

    fn parse(text: &str, bounds: Bounds) -> Result<Self, String> {
        let (low, high) = bounds.unwrap_or((0, Self::MAX));
        text.trim()
            .replace('_', "")
            .parse()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .ok_or_else(|| format!("expected a whole number from {low} to {high}"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        if text.is_empty() || text.contains(char::is_control) {
            return Err("expected a text without control characters".to_owned());
        }
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("expected a path".to_owned());
        }
        std::path::absolute(Path::new(text)).map_err(|error| format!("expected a path: {error}"))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for bool {
    const BARE: bool = true;

    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "expected true or false".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Where the server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl ListenAddress {
    /// The port that clients try when nothing else is said.
    pub const DEFAULT_PORT: u16 = 8080;

    /// A port of this machine alone.
    pub fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self::loopback(Self::DEFAULT_PORT)
    }
}

impl Setting for ListenAddress {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric
            .parse()
            .map(Self)
            .map_err(|_| "expected an address and a port, such as 127.0.0.1:8080".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Address of a database; the password in it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole URL, password included: only for opening the database.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SQLite in this file.
    pub fn sqlite(file: &Path) -> Self {
        Self(format!("sqlite://{}", file.display()))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Setting for DatabaseUrl {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        let known = ["postgres://", "postgresql://", "sqlite:"];
        if known.iter().any(|scheme| text.starts_with(scheme)) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected postgres://USER:PASSWORD@HOST/DATABASE or sqlite://FILE".to_owned())
        }
    }

    fn show(&self) -> String {
        mask_password(&self.0)
    }
}

/// A text that may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalText(pub Option<String>);

impl Setting for OptionalText {
    fn parse(text: &str, bounds: Bounds) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        String::parse(text, bounds).map(|text| Self(Some(text)))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }
}

/// An address without a port that may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalAddress(pub Option<IpAddr>);

impl Setting for OptionalAddress {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| "expected an address without a port, such as 10.0.0.7".to_owned())
    }

    fn show(&self) -> String {
        self.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// Where other nodes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinList(pub Vec<String>);

/// Entries of a [`JoinList`] at most.
const MAX_JOIN: usize = 1_000;

impl Setting for JoinList {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        let entries: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect();
        let good = |entry: &String| {
            entry
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                && !entry.contains(|c: char| c.is_control() || c.is_whitespace())
        };
        if entries.len() > MAX_JOIN || !entries.iter().all(good) {
            return Err(format!(
                "expected at most {MAX_JOIN} of HOST:PORT, separated by commas, such as indexer.search.svc:8082"
            ));
        }
        Ok(Self(entries))
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

/// What keeps the index beside the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdProvider {
    /// A folder that all nodes share.
    Local,
    /// A bucket of S3, or of a server that speaks its language.
    S3,
    /// A bucket of Google Cloud Storage.
    Gcs,
}

impl Setting for ColdProvider {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "local" => Ok(Self::Local),
            "s3" => Ok(Self::S3),
            "gcs" => Ok(Self::Gcs),
            _ => Err("expected local, s3 or gcs".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
        }
        .to_owned()
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// Lines for a person.
    Human,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("expected auto, human or json".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
        }
        .to_owned()
    }
}

/// Which log lines are written: `tracing`'s directives, such as `info,aeterna_repo=debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter(pub Option<String>);

impl Setting for LogFilter {
    fn parse(text: &str, _: Bounds) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        tracing_subscriber::EnvFilter::try_new(text).map(|_| Self(Some(text.to_owned()))).map_err(
            |error| {
                format!("expected a level or directives such as info,aeterna_repo=debug: {error}")
            },
        )
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_else(|| "auto".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn numbers_have_bounds_and_underscores() {
        assert_eq!(u64::parse("1_000", Some((1, 1000))), Ok(1000));
        for bad in ["0", "1001", "-1", "", "ten", "1.5", "18446744073709551616"] {
            let error = u64::parse(bad, Some((1, 1000))).unwrap_err();
            assert!(error.contains("from 1 to 1000"), "{bad}: {error}");
        }
    }

    #[test]
    fn addresses_need_a_port() {
        assert_eq!(ListenAddress::parse("localhost:0", None).unwrap().show(), "127.0.0.1:0");
        assert_eq!(ListenAddress::parse("[::1]:80", None).unwrap().show(), "[::1]:80");
        for bad in ["127.0.0.1", ":8080", "example.com:80", "127.0.0.1:99999"] {
            assert!(ListenAddress::parse(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (url, shown) in [
            ("postgres://me:hunter2@host:5432/db", "postgres://me:***@host:5432/db"),
            ("postgres://me@host/db", "postgres://me@host/db"),
            (
                "postgres://host/db?user=me&password=hunter2",
                "postgres://host/db?user=me&password=***",
            ),
            (
                "postgres://me:hun@ter2@host/db?sslpassword=hunter2",
                "postgres://me:***@host/db?sslpassword=***",
            ),
            ("postgres://me:hun/ter2@host/db", "postgres://me:***@host/db"),
            (
                "sqlite:///var/lib/aeterna/catalog.sqlite",
                "sqlite:///var/lib/aeterna/catalog.sqlite",
            ),
        ] {
            let parsed = DatabaseUrl::parse(url, None).unwrap();
            assert_eq!(parsed.show(), shown);
            assert_eq!(format!("{parsed:?}"), shown);
        }
        assert!(DatabaseUrl::parse("mysql://host/db", None).is_err());
    }

    #[test]
    fn log_filters_are_checked() {
        assert_eq!(LogFilter::parse("auto", None), Ok(LogFilter(None)));
        assert!(LogFilter::parse("info,aeterna_repo=debug", None).is_ok());
        assert!(LogFilter::parse("aeterna_repo=loud", None).is_err());
    }
}
