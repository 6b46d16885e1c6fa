//! What a symbol is.

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal;)*) => {
        /// What a symbol is. The numbers are stored in indexes: they never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum SymbolKind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl SymbolKind {
            /// All kinds, by number.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Its name in queries and answers, such as `enum-member`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The kind with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A function outside of a type.
    Function = 1, "function";
    /// A function of a type.
    Method = 2, "method";
    /// What makes a value of a type.
    Constructor = 3, "constructor";
    /// A class or record.
    Class = 4, "class";
    /// A struct.
    Struct = 5, "struct";
    /// An enumeration.
    Enum = 6, "enum";
    /// A union.
    Union = 7, "union";
    /// An interface, protocol or annotation type.
    Interface = 8, "interface";
    /// A trait.
    Trait = 9, "trait";
    /// Not a definition itself: the name of a type that is extended here and that the symbols in
    /// it belong to (Rust's `impl`, Swift's `extension`, the receiver of a Go method).
    Impl = 10, "impl";
    /// An alias or any other type.
    Type = 11, "type";
    /// A module.
    Module = 12, "module";
    /// A namespace.
    Namespace = 13, "namespace";
    /// An object that is its own only value (Scala, Kotlin).
    Object = 14, "object";
    /// A constant.
    Constant = 15, "constant";
    /// A variable outside of functions.
    Variable = 16, "variable";
    /// A field of a type.
    Field = 17, "field";
    /// A value of an enumeration.
    EnumMember = 18, "enum-member";
    /// A macro.
    Macro = 19, "macro";
    /// A property of a type: read or written through code of its own, or declared as such.
    Property = 20, "property";
    /// An event (C#).
    Event = 21, "event";
}

impl SymbolKind {
    /// The number that is stored.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this name; some common other names are taken too: `func`, `enumerator`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = match name.as_str() {
            "func" | "fn" | "def" => "function",
            "enumerator" | "enum_member" | "enumconstant" | "variant" => "enum-member",
            "const" => "constant",
            "var" => "variable",
            "typedef" | "typealias" | "alias" => "type",
            "protocol" => "interface",
            "mod" => "module",
            "member" => "field",
            "define" => "macro",
            "record" => "class",
            other => other,
        };
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// Whether it can be called; what is inside is local.
    #[must_use]
    pub const fn is_callable(self) -> bool {
        matches!(self, Self::Function | Self::Method | Self::Constructor)
    }

    /// Whether it is a type or stands for one: its functions are methods.
    #[must_use]
    pub const fn is_type(self) -> bool {
        matches!(
            self,
            Self::Class
                | Self::Struct
                | Self::Enum
                | Self::Union
                | Self::Interface
                | Self::Trait
                | Self::Impl
                | Self::Type
                | Self::Object
        )
    }
}

impl std::fmt::Display for SymbolKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::SymbolKind;

    #[test]
    fn numbers_and_names_lead_back() {
        for &kind in SymbolKind::ALL {
            assert_eq!(SymbolKind::from_number(kind.number()), Some(kind));
            assert_eq!(SymbolKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(SymbolKind::from_number(0), None);
        assert_eq!(SymbolKind::from_name("nonsense"), None);
        assert_eq!(SymbolKind::from_name("FUNC"), Some(SymbolKind::Function));
    }
}
