//! The node's configuration: defaults, then a TOML file, then the environment, then flags.

mod file;
mod manager;
mod nearest;
mod settings;
mod show;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use nearest::suggestion;
pub use settings::{Config, KEYS, Key};
pub use show::{show_json, show_text};
pub use values::{ColdProvider, ListenAddress, LogFormat};

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "AETERNA_CONFIG";
/// `AETERNA_…` variables that are read elsewhere: by client commands and by the tests.
const OTHER_VARIABLES: &[&str] =
    &[CONFIG_VARIABLE, "AETERNA_SERVER", "AETERNA_BIN", "AETERNA_KILLS", "AETERNA_SEED"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// A flag, as it is written.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value given by a flag.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The flag as it is written, such as `--listen`.
    pub flag: String,
    /// Name of the setting.
    pub key: String,
    /// The value.
    pub value: String,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the line.
        message: String,
    },
    /// A name that no setting has.
    #[error("{place}: unknown setting `{key}`{suggestion}")]
    UnknownKey {
        /// File and line, or flag.
        place: String,
        /// The name.
        key: String,
        /// The nearest names, or empty.
        suggestion: String,
    },
    /// A value that its setting cannot have. The value itself is not repeated: it may be a secret.
    #[error("{place}: bad value for `{key}`: {expected}")]
    BadValue {
        /// File and line, environment variable, or flag.
        place: String,
        /// Name of the setting.
        key: String,
        /// What was expected.
        expected: String,
    },
}

/// The effective configuration and where each value came from.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Sources of those that are not defaults, by name.
    pub sources: BTreeMap<&'static str, Source>,
    /// Environment variables that look like settings and are none, each with advice.
    pub warnings: Vec<String>,
}

/// Loads the configuration of this process: `file` is what `--config` says.
///
/// # Errors
/// An unreadable file, an unknown key or a bad value, each named.
pub fn load(file: Option<&Path>, flags: &[FlagValue]) -> Result<Loaded, ConfigError> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let variable = std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from);
    let named = file.map(Path::to_owned).or(variable.filter(|path| !path.as_os_str().is_empty()));
    let usual = settings::config_folder().join("aeterna.toml");
    let path = named.or_else(|| usual.exists().then_some(usual));
    load_from(path.as_deref(), &environment, flags)
}

fn load_from(
    file: Option<&Path>,
    environment: &[(OsString, OsString)],
    flags: &[FlagValue],
) -> Result<Loaded, ConfigError> {
    let mut loaded =
        Loaded { config: Config::default(), sources: BTreeMap::new(), warnings: Vec::new() };
    if let Some(path) = file {
        loaded.apply_file(path)?;
    }
    loaded.apply_environment(environment)?;
    for flag in flags {
        loaded.apply_flag(flag)?;
    }
    loaded.config.complete();
    loaded.listen_where_others_look();
    loaded.check_pairs()?;
    Ok(loaded)
}

impl Loaded {
    /// Where the value of a setting came from.
    pub fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        for entry in file::read(path)? {
            let place = format!("{}:{}", path.display(), entry.line);
            let key = find(&entry.key, &place)?;
            if key.bare != entry.bare {
                let expected = if key.bare {
                    "a number, or true or false, without quotes"
                } else {
                    "a text in quotes"
                };
                return Err(bad_value(&place, key, format!("expected {expected}")));
            }
            self.set(key, &entry.value, &place, Source::File(path.to_owned()))?;
        }
        Ok(())
    }

    fn apply_environment(&mut self, all: &[(OsString, OsString)]) -> Result<(), ConfigError> {
        for key in KEYS {
            let Some((_, value)) = all.iter().find(|(name, _)| name == key.env) else { continue };
            let place = format!("environment variable {}", key.env);
            let text = value
                .to_str()
                .ok_or_else(|| bad_value(&place, key, "expected UTF-8 text".to_owned()))?;
            self.set(key, text, &place, Source::Environment(key.env))?;
        }
        self.warnings = unknown_variables(all);
        Ok(())
    }

    fn apply_flag(&mut self, flag: &FlagValue) -> Result<(), ConfigError> {
        let key = find(&flag.key, &flag.flag)?;
        self.set(key, &flag.value, &flag.flag, Source::Flag(flag.flag.clone()))
    }

    fn set(
        &mut self,
        key: &'static Key,
        text: &str,
        place: &str,
        source: Source,
    ) -> Result<(), ConfigError> {
        (key.set)(&mut self.config, text).map_err(|expected| bad_value(place, key, expected))?;
        self.sources.insert(key.name, source);
        Ok(())
    }

    /// What is not said otherwise listens at the address that other nodes are told.
    fn listen_where_others_look(&mut self) {
        let Some(address) = self.config.pod_ip.0 else { return };
        let Config { cluster_listen, cluster_gossip, .. } = &mut self.config;
        for (key, listen) in
            [("cluster.listen", cluster_listen), ("cluster.gossip", cluster_gossip)]
        {
            if !self.sources.contains_key(key) {
                listen.0.set_ip(address);
            }
        }
    }

    /// Settings that bound each other.
    fn check_pairs(&self) -> Result<(), ConfigError> {
        let config = &self.config;
        for (low, low_value, high, high_value) in [
            ("search.page_size", config.page_size, "search.max_page_size", config.max_page_size),
            (
                "search.timeout_seconds",
                config.search_timeout_seconds,
                "search.max_timeout_seconds",
                config.max_search_timeout_seconds,
            ),
        ] {
            if low_value > high_value {
                return Err(ConfigError::BadValue {
                    place: self.source(low).to_string(),
                    key: low.to_owned(),
                    expected: format!("{low_value} is more than `{high}`, which is {high_value}"),
                });
            }
        }
        Ok(())
    }
}

fn find(name: &str, place: &str) -> Result<&'static Key, ConfigError> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| ConfigError::UnknownKey {
        place: place.to_owned(),
        key: name.to_owned(),
        suggestion: suggestion(name, KEYS.iter().map(|key| key.name)),
    })
}

fn bad_value(place: &str, key: &Key, expected: String) -> ConfigError {
    ConfigError::BadValue { place: place.to_owned(), key: key.name.to_owned(), expected }
}

/// Unknown `AETERNA_…` variables are a warning and no error: Kubernetes sets such names by itself
/// for a service called `aeterna` (`AETERNA_SERVICE_HOST`, `AETERNA_PORT_8080_TCP`).
fn unknown_variables(all: &[(OsString, OsString)]) -> Vec<String> {
    let known = || KEYS.iter().map(|key| key.env);
    let mut names: Vec<&str> = all
        .iter()
        .filter_map(|(name, _)| name.to_str())
        .filter(|name| name.starts_with("AETERNA_"))
        .filter(|name| !OTHER_VARIABLES.contains(name) && !known().any(|env| env == *name))
        .collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| {
            format!("environment variable {name} is not a setting{}", suggestion(name, known()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
