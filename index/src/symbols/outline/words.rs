//! What single words of C are.

/// Words that say how something is stored or qualify a type: they are never a name.
const QUALIFIERS: [&[u8]; 20] = [
    b"static",
    b"extern",
    b"inline",
    b"const",
    b"volatile",
    b"register",
    b"typedef",
    b"restrict",
    b"auto",
    b"__inline",
    b"__inline__",
    b"__const",
    b"__volatile__",
    b"__restrict",
    b"__extension__",
    b"_Noreturn",
    b"__restrict__",
    b"_Atomic",
    b"_Thread_local",
    b"__thread",
];
/// Words that are types or parts of types.
const TYPES: [&[u8]; 14] = [
    b"int",
    b"char",
    b"void",
    b"long",
    b"short",
    b"unsigned",
    b"signed",
    b"float",
    b"double",
    b"_Bool",
    b"bool",
    b"__signed__",
    b"__int128",
    b"_Complex",
];
/// Words whose parentheses belong to an attribute.
const ATTRIBUTES: [&[u8]; 10] = [
    b"__attribute__",
    b"__attribute",
    b"__declspec",
    b"asm",
    b"__asm__",
    b"__asm",
    b"_Alignas",
    b"alignas",
    b"__aligned",
    b"__pragma",
];
/// Words with parentheses that are a type.
const TYPE_OPERATORS: [&[u8]; 4] = [b"typeof", b"__typeof__", b"__typeof", b"typeof_unqual"];
/// Words that start statements: code outside of a function means that braces were miscounted.
const STATEMENTS: [&[u8]; 13] = [
    b"if", b"else", b"for", b"while", b"do", b"switch", b"case", b"return", b"goto", b"sizeof",
    b"defined", b"break", b"default",
];

pub(super) fn is_qualifier(word: &[u8]) -> bool {
    QUALIFIERS.contains(&word)
}

pub(super) fn is_type(word: &[u8]) -> bool {
    TYPES.contains(&word)
}

pub(super) fn is_type_operator(word: &[u8]) -> bool {
    TYPE_OPERATORS.contains(&word)
}

pub(super) fn is_statement(word: &[u8]) -> bool {
    STATEMENTS.contains(&word)
}

pub(super) fn is_aggregate(word: &[u8]) -> bool {
    matches!(word, b"struct" | b"union" | b"enum")
}

/// Whether `word` with parentheses is certainly an attribute.
pub(super) fn is_attribute(word: &[u8]) -> bool {
    ATTRIBUTES.contains(&word)
}

/// Whether `word` looks like an attribute macro (`__init`, `__user`), not like a type (`__u32`).
pub(super) fn is_attribute_like(word: &[u8]) -> bool {
    let Some(rest) = word.strip_prefix(b"__") else {
        return false;
    };
    let is_sized = matches!(rest.first(), Some(b'u' | b's' | b'l' | b'b'))
        && rest.last().is_some_and(u8::is_ascii_digit);
    !is_sized && !word.ends_with(b"_t")
}

/// `EXPORT_SYMBOL`, `SYSCALL_DEFINE3`: what macros that are used like functions are called.
pub(super) fn is_macro_like(word: &[u8]) -> bool {
    word.len() >= 3
        && word.iter().any(u8::is_ascii_uppercase)
        && !word.iter().any(u8::is_ascii_lowercase)
}

fn contains(word: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(word, part).is_some()
}

/// Which argument of a macro with this name is the name of what it defines, for macros that end
/// with a semicolon or an initialiser.
pub(super) fn defined_argument(word: &[u8], is_static: bool) -> Option<usize> {
    if contains(word, b"PER_CPU") {
        return word.starts_with(b"DEFINE").then_some(1);
    }
    if word.starts_with(b"DEFINE_EVENT") {
        return Some(1);
    }
    let defines = word.starts_with(b"DEFINE_")
        || word.starts_with(b"TRACE_EVENT")
        || matches!(
            word,
            b"LIST_HEAD"
                | b"HLIST_HEAD"
                | b"DECLARE_WAIT_QUEUE_HEAD"
                | b"DECLARE_RWSEM"
                | b"DECLARE_COMPLETION"
                | b"DECLARE_WORK"
                | b"DECLARE_DELAYED_WORK"
                | b"DECLARE_TASKLET"
                | b"DECLARE_BITMAP"
                | b"DECLARE_EVENT_CLASS"
                | b"ATTRIBUTE_GROUPS"
        );
    (defines || is_static && !contains(word, b"ASSERT")).then_some(0)
}

/// The same for macros inside a struct.
pub(super) fn member_argument(word: &[u8]) -> Option<usize> {
    if contains(word, b"FLEX_ARRAY") || contains(word, b"KFIFO") && !contains(word, b"KFIFO_PTR") {
        return Some(usize::from(contains(word, b"FLEX_ARRAY")));
    }
    let defines =
        contains(word, b"DECLARE") || contains(word, b"BITMAP") || word == b"struct_group";
    defines.then_some(0)
}

/// The same for macros that are followed by a body: `SYSCALL_DEFINE3(read, …) {`.
pub(super) fn function_argument(word: &[u8], arguments: usize) -> usize {
    usize::from(word.starts_with(b"TEST") && arguments >= 2)
}

/// Words of C++ that are never the name of a variable or its type.
const CPP_KEYWORDS: [&[u8]; 34] = [
    b"static",
    b"extern",
    b"inline",
    b"const",
    b"constexpr",
    b"constinit",
    b"consteval",
    b"volatile",
    b"mutable",
    b"typedef",
    b"using",
    b"return",
    b"case",
    b"new",
    b"delete",
    b"throw",
    b"goto",
    b"else",
    b"do",
    b"class",
    b"struct",
    b"union",
    b"enum",
    b"typename",
    b"template",
    b"virtual",
    b"explicit",
    b"friend",
    b"operator",
    b"public",
    b"private",
    b"protected",
    b"namespace",
    b"thread_local",
];
/// Words that the declaration of a function or variable starts with.
const DECLARATION_STARTS: [&[u8]; 12] = [
    b"static",
    b"extern",
    b"inline",
    b"const",
    b"constexpr",
    b"virtual",
    b"explicit",
    b"auto",
    b"class",
    b"struct",
    b"template",
    b"namespace",
];

pub(super) fn is_cpp_keyword(word: &[u8]) -> bool {
    CPP_KEYWORDS.contains(&word)
}

/// Whether a macro before `word` cannot be its type.
pub(super) fn starts_declaration(word: &[u8]) -> bool {
    DECLARATION_STARTS.contains(&word) || is_type(word)
}

/// Whether a macro between `word` and a name is an attribute.
pub(super) fn is_cpp_aggregate(word: &[u8]) -> bool {
    word == b"class" || is_aggregate(word)
}

/// Whether braces after `word` and a name hold definitions.
pub(super) fn opens_scope(word: &[u8]) -> bool {
    word == b"namespace" || is_cpp_aggregate(word)
}
