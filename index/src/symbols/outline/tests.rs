use super::Outline;

/// The outline without its line ends and doubled blanks.
fn outline(code: &str) -> String {
    String::from_utf8_lossy(Outline::of(code.as_bytes(), 100).text()).into_owned()
}

#[track_caller]
fn assert_outline(code: &str, expected: &str) {
    assert_eq!(outline(code), expected, "{code}");
}

#[test]
fn functions() {
    for code in [
        "int f(void) { return 1; }",
        "static inline int f(int a, char *b)\n{\n\tif (a) { b = \"}\"; }\n}\n",
        "static int __init f(void) {}",
        "static __always_inline int f(void) {}",
        "asmlinkage __visible void __sched f(void) {}",
        "struct x *f(struct y *y) {}",
        "static struct x __init *f(void) {}",
        "unsigned long f(void) __acquires(lock) __releases(other) {}",
        "static __printf(1, 2) void f(const char *fmt, ...) {}",
        "int __printf(1, 2) f(const char *fmt, ...) {}",
        "__attribute__((noreturn)) void f(void) {}",
        "void f(void) __attribute__((weak)) {}",
        "int f(a, b)\nint a;\nchar *b;\n{\n}\n",
        "f(a) int a; {}",
        "EXPORT_SYMBOL(x)\nint f(void) {}",
        "module_init(x);\nint f(void) {}",
        "noinline foo_t f(void) {}",
        "XX_API foo_t f(void) {}",
        "SYSCALL_DEFINE3(f, int, a, int, b, int, c) {}",
        "TEST_F(fixture, f) {}",
        "int f(int a /* ) */, int (*callback)(int)) {}",
    ] {
        assert_outline(code, "int f(){}");
    }
    assert_outline("int __f(void) {}", "int __f(){}");
    assert_outline("void (*f(int a))(int) { }", "int (*f(int a))(){}");
}

#[test]
fn what_is_no_definition() {
    for code in [
        "int f(void);",
        "extern int a;",
        "EXPORT_SYMBOL(f);",
        "MODULE_LICENSE(\"GPL\");",
        "struct x;",
        "static_assert(sizeof(int) == 4, \"\");",
        "if (x) { y(); }",
        "else { y(); }",
        "asm(\"nop\");",
        "/* int a; */ // int b;\n",
        "#if 0\nint a;\n#endif\n",
        "FOO;",
        "} } ) ] ;",
    ] {
        assert_outline(code, "");
    }
}

#[test]
fn variables() {
    assert_outline("int a, *b[3] = { 1, 2 }, c = f(1, 2);", "int a,b,c;");
    assert_outline("static const struct ops x = {\n\t.open = y,\n};", "int x;");
    assert_outline("static int x[] __initconst = { 1 };", "int x;");
    assert_outline("u8 x __aligned(8) = 1;", "int x;");
    assert_outline("foo_t __x;", "int __x;");
    assert_outline("struct s __percpu *x;", "int x;");
    assert_outline("int (*x)(int a) = f;", "int (*x)();");
    assert_outline("DEFINE_MUTEX(x);", "int x;");
    assert_outline("static LIST_HEAD(x);", "int x;");
    assert_outline("static DEFINE_PER_CPU(struct s, x);", "int x;");
    assert_outline("STACK_OF(X509) *x;", "int x;");
    assert_outline("char *x = \"a;b\" \"c\";", "int x;");
}

#[test]
fn types() {
    assert_outline("struct s { int a, b:3; u8 c[4]; } __packed;", "struct s{int a,b;int c;} ;");
    assert_outline(
        "struct s { struct { int a; } b; union { int c; }; };",
        "struct s{struct {int a;} b;union {int c;} ;} ;",
    );
    assert_outline("struct __attribute__((packed)) s { int a; };", "struct s{int a;} ;");
    assert_outline(
        "struct s { int (*f)(int), g; DECLARE_BITMAP(map, 4); };",
        "struct s{int (*f)(),g;int map;} ;",
    );
    assert_outline("enum e { A, B = 1 << 2, C __attr, /* D */ };", "enum e{A,B,C,} ;");
    assert_outline("enum e : u8 { A };", "enum e{A,} ;");
    assert_outline("typedef struct { int a; } t, *p;", "typedef struct {int a;} t,p;");
    assert_outline("typedef struct { int a; } __packed t;", "typedef struct {int a;} t;");
    assert_outline("typedef int (*t)(void);", "typedef int (*t)();");
    assert_outline("typedef u32 __bitwise t;", "typedef int t;");
    assert_outline("typedef int t(int a);", "typedef int t();");
    assert_outline("typedef unsigned long t;", "typedef int t;");
    assert_outline("struct s { int a; } x = { 1 }, *y;", "struct s{int a;} x,y;");
}

#[test]
fn the_preprocessor() {
    assert_outline(
        "#ifdef A\nint f(int a)\n#else\nint f(void)\n#endif\n{\n}\nint g(void) {}\n",
        "int f(){}int g(){}",
    );
    assert_outline(
        "#ifdef A\nint f(void) {\n#else\nint g(void) {\n#endif\n  x();\n}\nint h;\n",
        "int f(){}int h;",
    );
    assert_outline("#ifdef A\nint a;\n#else\nint b;\n#endif\n", "int a;int b;");
    assert_outline(
        "int f(void)\n{\n#ifdef A\n\tif (a) {\n#else\n\tif (b) {\n#endif\n\t}\n}\nint g;\n",
        "int f(){}int g;",
    );
    assert_outline(
        "#ifdef __cplusplus\nextern \"C\" {\n#endif\nint a;\n#ifdef __cplusplus\n}\n#endif\nint b;",
        "int a;int b;",
    );
    assert_outline("#define X \\\n int a; \\\n int b;\nint c;", "int c;");
    assert_outline("#error don't\nint a;", "int a;");
    assert_outline("#if 0\nint a;\n#if 1\n#endif\n#else\nint b;\n#endif\n", "int b;");
}

#[test]
fn braces_that_cannot_be_counted() {
    assert_outline(
        "int f(void)\n{\n\tBEGIN {\n}\nint g(void)\n{\n}\nint h;\n",
        "int f(){}int g(){}int h;",
    );
}

#[test]
fn macros_are_found_everywhere() {
    let code = "#define A 1\n# define B(x) \\\n  x\nint f(void) {\n#define C\n}\nint a[] = {\n#  define D 2\n};\n#ifdef X\n#else\n#define E /* a\n b */ 1\n#endif\n#define\n#undef F\n";
    let names: Vec<&str> = Outline::of(code.as_bytes(), 100)
        .into_macros()
        .iter()
        .map(|symbol| &code[symbol.name.start as usize..symbol.name.end as usize])
        .collect();
    assert_eq!(names, ["A", "B", "C", "D", "E"]);
}
