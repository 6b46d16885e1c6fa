//! The grammars, and which languages they are for.

use std::sync::OnceLock;

use tree_sitter_language::LanguageFn;

use super::lang;
use super::rules::{Rule, Table};
use crate::languages::Language;

macro_rules! grammars {
    ($($grammar:ident, $names:expr, $function:expr, $rules:expr;)*) => {
        /// A grammar that is built in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Grammar {
            $($grammar,)*
        }

        impl Grammar {
            pub(super) const ALL: &'static [Self] = &[$(Self::$grammar),*];

            /// Linguist's names of the languages that it reads.
            const fn names(self) -> &'static [&'static str] {
                match self {
                    $(Self::$grammar => &$names,)*
                }
            }

            const fn function(self) -> LanguageFn {
                match self {
                    $(Self::$grammar => $function,)*
                }
            }

            /// What the nodes of its trees mean.
            pub(super) const fn rules(self) -> &'static [Rule] {
                match self {
                    $(Self::$grammar => $rules,)*
                }
            }
        }
    };
}

grammars! {
    Bash, ["Shell"], tree_sitter_bash::LANGUAGE, lang::bash::RULES;
    C, ["C"], tree_sitter_c::LANGUAGE, lang::c::RULES;
    Cpp, ["C++", "Cuda"], tree_sitter_cpp::LANGUAGE, lang::c::RULES_CPP;
    CSharp, ["C#"], tree_sitter_c_sharp::LANGUAGE, lang::c_sharp::RULES;
    Go, ["Go"], tree_sitter_go::LANGUAGE, lang::go::RULES;
    Java, ["Java"], tree_sitter_java::LANGUAGE, lang::java::RULES;
    JavaScript, ["JavaScript"], tree_sitter_javascript::LANGUAGE, lang::javascript::RULES;
    Kotlin, ["Kotlin"], tree_sitter_kotlin_ng::LANGUAGE, lang::kotlin::RULES;
    Php, ["PHP"], tree_sitter_php::LANGUAGE_PHP, lang::php::RULES;
    Python, ["Python"], tree_sitter_python::LANGUAGE, lang::python::RULES;
    Ruby, ["Ruby"], tree_sitter_ruby::LANGUAGE, lang::ruby::RULES;
    Rust, ["Rust"], tree_sitter_rust::LANGUAGE, lang::rust::RULES;
    Scala, ["Scala"], tree_sitter_scala::LANGUAGE, lang::scala::RULES;
    Swift, ["Swift"], tree_sitter_swift::LANGUAGE, lang::swift::RULES;
    Tsx, ["TSX"], tree_sitter_typescript::LANGUAGE_TSX, lang::javascript::RULES_TYPESCRIPT;
    TypeScript, ["TypeScript"], tree_sitter_typescript::LANGUAGE_TYPESCRIPT, lang::javascript::RULES_TYPESCRIPT;
}

const COUNT: usize = Grammar::ALL.len();

/// A grammar as the parser and the walk need it.
struct Loaded {
    language: tree_sitter::Language,
    table: Table,
}

impl Grammar {
    /// The grammar for a language.
    pub(super) fn of(language: Language) -> Option<Self> {
        static BY_LANGUAGE: OnceLock<Vec<Option<Grammar>>> = OnceLock::new();
        let grammars = BY_LANGUAGE.get_or_init(|| {
            let is_for = |grammar: &Self, name| grammar.names().contains(&name);
            let find = |name| Self::ALL.iter().copied().find(|grammar| is_for(grammar, name));
            Language::all().map(|language| find(language.name())).collect()
        });
        grammars.get(language.index()).copied().flatten()
    }

    pub(super) fn language(self) -> &'static tree_sitter::Language {
        &self.loaded().language
    }

    pub(super) fn table(self) -> &'static Table {
        &self.loaded().table
    }

    fn loaded(self) -> &'static Loaded {
        static LOADED: [OnceLock<Loaded>; COUNT] = [const { OnceLock::new() }; COUNT];
        LOADED[self as usize].get_or_init(|| {
            let language = tree_sitter::Language::from(self.function());
            let table = Table::new(&language, self.rules());
            Loaded { language, table }
        })
    }
}
