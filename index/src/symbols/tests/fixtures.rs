//! A snippet in each language and what is defined in it.

use super::assert_symbols;

/// The snippets, for tests of other things.
pub(super) const ALL: [(&str, &str); 16] = [
    ("Rust", RUST),
    ("Go", GO),
    ("Python", PYTHON),
    ("Java", JAVA),
    ("JavaScript", JAVASCRIPT),
    ("TypeScript", TYPESCRIPT),
    ("TSX", TSX),
    ("C", C),
    ("C++", CPP),
    ("C#", C_SHARP),
    ("Ruby", RUBY),
    ("PHP", PHP),
    ("Kotlin", KOTLIN),
    ("Swift", SWIFT),
    ("Scala", SCALA),
    ("Shell", BASH),
];

const RUST: &str = r#"
use std::fmt;
const LIMIT: usize = 1;
static NAMES: &[&str] = &[];
pub struct Point<T> { pub x: T, y: T }
enum Shape { Circle { radius: f32 }, Empty }
union Bits { a: u32 }
type Alias = Point<f32>;
trait Area { type Unit; const N: u8; fn area(&self) -> f32; fn twice(&self) -> f32 { 2.0 } }
impl<T> Area for geometry::Point<T> { fn area(&self) -> f32 { let local = 1.0; local } }
mod inner {
    pub fn outer() { fn nested() {} struct Hidden; }
}
macro_rules! shout { ($x:expr) => { fn not_found() {} } }
extern "C" { fn puts(s: *const u8); }
const _: () = ();
"#;

#[test]
fn rust() {
    assert_symbols(
        "Rust",
        RUST,
        &[
            "constant LIMIT",
            "variable NAMES",
            "struct Point",
            "field Point.x",
            "field Point.y",
            "enum Shape",
            "enum-member Shape.Circle",
            "field Circle.radius",
            "enum-member Shape.Empty",
            "union Bits",
            "field Bits.a",
            "type Alias",
            "trait Area",
            "type Area.Unit",
            "constant Area.N",
            "method Area.area",
            "method Area.twice",
            "impl Point",
            "method Point.area",
            "module inner",
            "function inner.outer",
            "function outer.nested",
            "struct outer.Hidden",
            "macro shout",
            "function puts",
        ],
    );
}

const GO: &str = r#"
package main
import "fmt"
const A, B = 1, 2
var c, d int
var _ = 1
type Server struct { Addr, Name string; *Embedded }
type Handler interface { Serve(w int) error }
type Func func(int) int
type Alias = Server
func main() { x := 1; var local int; f := func() { var inner int } }
func (s *Server) Run() {}
func (h Elsewhere[T]) Do() {}
func (h *Elsewhere[T]) Again() {}
"#;

#[test]
fn go() {
    assert_symbols(
        "Go",
        GO,
        &[
            "constant A",
            "constant B",
            "variable c",
            "variable d",
            "struct Server",
            "field Server.Addr",
            "field Server.Name",
            "interface Handler",
            "method Handler.Serve",
            "type Func",
            "type Alias",
            "function main",
            "method Server.Run",
            "impl Elsewhere",
            "method Elsewhere.Do",
            "method Elsewhere.Again",
        ],
    );
}

const PYTHON: &str = r#"
import os
LIMIT = 1
name: str = "x"
a, b = 1, 2
name = "again"
type Pair[T] = tuple[T, T]
class Base(object):
    field = 1
    other: int
    def __init__(self):
        self.x = 1
        local = 2
    @property
    def value(self):
        def nested():
            pass
        return nested
    class Inner:
        pass
async def main():
    pass
if True:
    def conditional(): pass
"#;

#[test]
fn python() {
    assert_symbols(
        "Python",
        PYTHON,
        &[
            "constant LIMIT",
            "variable name",
            "variable a",
            "variable b",
            "type Pair",
            "class Base",
            "field Base.field",
            "field Base.other",
            "constructor Base.__init__",
            "method Base.value",
            "function value.nested",
            "class Base.Inner",
            "function main",
            "function conditional",
        ],
    );
}

const JAVA: &str = r#"
package a.b;
import java.util.List;
public class Server<T> extends Base {
    private static final int LIMIT = 1, OTHER = 2;
    private final Runnable task = () -> { int local = 1; };
    static { int alsoLocal = 1; }
    public Server(int port) { int local = port; }
    @Override public <U> void run(List<U> list) { int local; new Object() { void inner() {} }; }
    interface Handler { int CODE = 1; void handle(); default void twice() {} }
    enum Color { RED, GREEN { void paint() {} }; int value; }
    record Pair(int a, int b) { Pair { } }
    @interface Marker { String value(); }
}
"#;

#[test]
fn java() {
    assert_symbols(
        "Java",
        JAVA,
        &[
            "class Server",
            "field Server.LIMIT",
            "field Server.OTHER",
            "field Server.task",
            "constructor Server.Server",
            "method Server.run",
            "method run.inner",
            "interface Server.Handler",
            "field Handler.CODE",
            "method Handler.handle",
            "method Handler.twice",
            "enum Server.Color",
            "enum-member Color.RED",
            "enum-member Color.GREEN",
            "method GREEN.paint",
            "field Color.value",
            "class Server.Pair",
            "constructor Pair.Pair",
            "interface Server.Marker",
            "method Marker.value",
        ],
    );
}

const JAVASCRIPT: &str = r#"
import x from 'y';
const express = require('express');
const { a, b } = express;
let count = 0;
function* gen() { const local = 1; function nested() {} const arrow = () => 1; }
async function main() {}
const handler = async (req) => { let inner; };
const Model = class { };
class Server extends Base {
  static limit = 1;
  #secret = 2;
  onClick = () => {};
  constructor() { super(); this.x = 1; }
  get port() { return 1; }
  ['computed']() {}
}
exports.listen = function (port) {};
Server.prototype.close = function () {};
module.exports = function () {};
const api = { get: function () {}, 'put': () => {}, post() {}, value: 1 };
"#;

#[test]
fn javascript() {
    assert_symbols(
        "JavaScript",
        JAVASCRIPT,
        &[
            "variable express",
            "variable count",
            "function gen",
            "function gen.nested",
            "function gen.arrow",
            "function main",
            "function handler",
            "class Model",
            "class Server",
            "field Server.limit",
            "field Server.#secret",
            "method Server.onClick",
            "constructor Server.constructor",
            "method Server.port",
            "function listen",
            "method Server.close",
            "variable api",
            "method api.get",
            "method api.put",
            "method api.post",
        ],
    );
}

const TYPESCRIPT: &str = r#"
interface Options { port: number; run(x: number): void; 'quoted': string }
type Id = string | { nested: number };
enum Color { Red, Green = 2, 'Blue' }
declare function external(x: number): void;
namespace App.Core { export const version = 1; }
declare module "mod" { class Inside {} }
abstract class Base<T> {
  private readonly name: string;
  handler = () => 1;
  constructor(public x: number) {}
  abstract area(): number;
  static make(): void {}
}
export default function main() { const local: number = 1; }
const fn = <T,>(x: T) => x;
"#;

#[test]
fn typescript() {
    assert_symbols(
        "TypeScript",
        TYPESCRIPT,
        &[
            "interface Options",
            "property Options.port",
            "method Options.run",
            "property Options.quoted",
            "type Id",
            "property Id.nested",
            "enum Color",
            "enum-member Color.Red",
            "enum-member Color.Green",
            "enum-member Color.Blue",
            "function external",
            "namespace App.Core",
            "variable App.Core.version",
            "namespace mod",
            "class mod.Inside",
            "class Base",
            "field Base.name",
            "method Base.handler",
            "constructor Base.constructor",
            "method Base.area",
            "method Base.make",
            "function main",
            "function fn",
        ],
    );
}

const TSX: &str = r#"
type Props = { title: string };
export const Button: React.FC<Props> = ({ title }) => {
  const [state, setState] = useState(0);
  return <button onClick={() => setState(1)}>{title}</button>;
};
export function App() { return <Button title="x" />; }
"#;

#[test]
fn tsx() {
    assert_symbols(
        "TSX",
        TSX,
        &[
            "type Props",
            "property Props.title",
            "function Button",
            "function App",
        ],
    );
}

const C: &str = r#"
#include <stdio.h>
#define LIMIT 10
#define MAX(a, b) \
    ((a) > (b) ? (a) : (b))
struct point { int x, *y; struct { int inner; } nested; int (*callback)(int); unsigned flag : 1; };
typedef struct { int width; } size_type;
typedef struct node { struct node *next; } node_t;
typedef int (*compare_fn)(const void *, const void *);
enum color { RED, GREEN = 2 };
union bits { float f; };
static const char *names[] = { "a", "b" };
int counter = 0, other;
extern int declared_elsewhere;
int prototype(int);
static inline int *find(struct point *p) { int local = 1; struct inside { int z; }; return 0; }
int main(void)
{
#define IN_FUNCTION 1
    return MAX(1, 2);
}
"#;

#[test]
fn c() {
    assert_symbols(
        "C",
        C,
        &[
            "macro LIMIT",
            "macro MAX",
            "struct point",
            "field point.x",
            "field point.y",
            "field point.inner",
            "field point.nested",
            "field point.callback",
            "field point.flag",
            "field size_type.width",
            "type size_type",
            "struct node",
            "field node.next",
            "type node_t",
            "type compare_fn",
            "enum color",
            "enum-member color.RED",
            "enum-member color.GREEN",
            "union bits",
            "field bits.f",
            "variable names",
            "variable counter",
            "variable other",
            "function find",
            "function main",
            "macro IN_FUNCTION",
        ],
    );
}

const CPP: &str = r#"
#include <vector>
#define LIMIT 1
namespace db { namespace {
template <typename T> class DB_EXPORT Table : public Base {
 public:
  Table(int n) : n_(n) {}
  ~Table() {}
  virtual int size() const = 0;
  int declared() const;
  T& at(int i) LOCKS_EXCLUDED(mu_) {
#define IN_BODY 1
    return data_[i]; }
  bool operator==(const Table& o) const { return true; }
 private:
  int n_; std::vector<T> data_;
  enum class State { kOpen, kClosed };
};
} // namespace
using Map = std::map<int, int>;
int global = 1;
void Reader::Open(const std::string& name) { auto f = [](int x) { return x; }; }
Reader& Reader::operator=(const Reader&) = delete;
void Use() { struct Local { int a; void Run() {} }; int b; }
Reader::Reader() {}
template <> int Outer::Inner<int>::get() const { return 1; }
}  // namespace db
extern "C" int c_function(void) { return 0; }
"#;

#[test]
fn cpp() {
    assert_symbols(
        "C++",
        CPP,
        &[
            "macro LIMIT",
            "namespace db",
            "class db.Table",
            "constructor Table.Table",
            "method Table.~Table",
            "method Table.size",
            "method Table.at",
            "macro IN_BODY",
            "method Table.operator==",
            "field Table.n_",
            "field Table.data_",
            "enum Table.State",
            "enum-member State.kOpen",
            "enum-member State.kClosed",
            "type db.Map",
            "variable db.global",
            "impl Reader",
            "method Reader.Open",
            "function db.Use",
            "struct Use.Local",
            "field Local.a",
            "method Local.Run",
            "constructor Reader.Reader",
            "impl Inner",
            "method Inner.get",
            "function c_function",
        ],
    );
}

const C_SHARP: &str = r#"
using System;
namespace App.Core {
  public delegate void Handler(int x);
  public interface IShape { double Area(); }
  public record Pair(int A, int B);
  public struct Point { public int X, Y; }
  public enum Color { Red, Green = 2 }
  public class Server<T> : Base {
    private const int Limit = 1;
    public event EventHandler Started;
    public string Name { get; set; }
    public Server(int port) { var local = 1; }
    ~Server() { }
    public async Task<int> RunAsync<U>(U x) { int Local() => 1; return Local(); }
  }
}
"#;

#[test]
fn c_sharp() {
    assert_symbols(
        "C#",
        C_SHARP,
        &[
            "namespace App.Core",
            "type App.Core.Handler",
            "interface App.Core.IShape",
            "method IShape.Area",
            "class App.Core.Pair",
            "struct App.Core.Point",
            "field Point.X",
            "field Point.Y",
            "enum App.Core.Color",
            "enum-member Color.Red",
            "enum-member Color.Green",
            "class App.Core.Server",
            "constant Server.Limit",
            "event Server.Started",
            "property Server.Name",
            "constructor Server.Server",
            "method Server.Server",
            "method Server.RunAsync",
            "function RunAsync.Local",
        ],
    );
}

const RUBY: &str = r#"
require 'x'
module App
  LIMIT = 1
  class Server < Base
    attr_accessor :port, :host
    def initialize(port)
      @port = port
      local = 1
    end
    def self.start; end
    def running?; end
    alias_method :old, :running?
    alias stopped? running?
    class << self
      def build; end
    end
  end
end
class App::Client; end
def helper; end
"#;

#[test]
fn ruby() {
    assert_symbols(
        "Ruby",
        RUBY,
        &[
            "module App",
            "constant App.LIMIT",
            "class App.Server",
            "property Server.port",
            "property Server.host",
            "method Server.initialize",
            "method Server.start",
            "method Server.running?",
            "method Server.old",
            "method Server.stopped?",
            "method Server.build",
            "class Client",
            "function helper",
        ],
    );
}

const PHP: &str = r#"<html><?php
namespace App\Core;
use Some\Thing;
const LIMIT = 1;
define('OTHER', 2);
$config = [];
interface Shape { public function area(): float; }
trait Loud { function shout() {} }
enum Suit: string { case Hearts = 'H'; const X = 1; }
abstract class Server extends Base {
    private const A = 1, B = 2;
    protected ?int $port = 1;
    public function __construct(private string $name, int $x) { $local = 1; }
    public static function make() { return function () { $inner = 1; }; }
}
function helper($x) { $local = 1; }
"#;

#[test]
fn php() {
    assert_symbols(
        "PHP",
        PHP,
        &[
            "namespace App\\Core",
            "constant LIMIT",
            "constant OTHER",
            "variable config",
            "interface Shape",
            "method Shape.area",
            "trait Loud",
            "method Loud.shout",
            "enum Suit",
            "enum-member Suit.Hearts",
            "constant Suit.X",
            "class Server",
            "constant Server.A",
            "constant Server.B",
            "property Server.port",
            "constructor Server.__construct",
            "property Server.name",
            "method Server.make",
            "function helper",
        ],
    );
}

const KOTLIN: &str = r#"
package app
import kotlin.math.*
const val LIMIT = 1
typealias Name = String
interface Shape {
    val sides: Int
    fun area(): Double
}
enum class Color(val rgb: Int) { RED(1), GREEN(2) }
data class Point(val x: Int, var y: Int, z: Int) {
    private val sum: Int
        get() {
            val local = 1
            return local
        }
    init {
        val alsoLocal = 1
    }
    fun move(dx: Int) {
        val local = 1
        fun nested() {}
    }
    companion object {
        fun make() = Point(1, 2, 3)
    }
}
object Registry {
    val all = listOf(1).map {
        val inner = it
        inner
    }
}
fun String.shout() = uppercase()
"#;

#[test]
fn kotlin() {
    assert_symbols(
        "Kotlin",
        KOTLIN,
        &[
            "variable LIMIT",
            "type Name",
            "interface Shape",
            "property Shape.sides",
            "method Shape.area",
            "enum Color",
            "property Color.rgb",
            "enum-member Color.RED",
            "enum-member Color.GREEN",
            "class Point",
            "property Point.x",
            "property Point.y",
            "property Point.sum",
            "method Point.move",
            "function move.nested",
            "method Point.make",
            "object Registry",
            "property Registry.all",
            "function shout",
        ],
    );
}

const SWIFT: &str = r#"
import Foundation
let limit = 1
typealias Name = String
protocol Shape { associatedtype Unit; var sides: Int { get }; func area() -> Double }
enum Color { case red, green(Int); func hex() -> String { "" } }
struct Point { var x: Int; let (a, b) = (1, 2); var sum: Int { let local = 1; return local } }
class Server: Base {
    static let shared = Server()
    init(port: Int) { let local = port }
    func run() { let local = 1; func nested() {} }
}
extension Server { func stop() {} }
func helper() {}
"#;

#[test]
fn swift() {
    assert_symbols(
        "Swift",
        SWIFT,
        &[
            "variable limit",
            "type Name",
            "interface Shape",
            "type Shape.Unit",
            "property Shape.sides",
            "method Shape.area",
            "enum Color",
            "enum-member Color.red",
            "enum-member Color.green",
            "method Color.hex",
            "struct Point",
            "property Point.x",
            "property Point.sum",
            "class Server",
            "property Server.shared",
            "constructor Server.init",
            "method Server.run",
            "function run.nested",
            "impl Server",
            "method Server.stop",
            "function helper",
        ],
    );
}

const SCALA: &str = r#"
package app
import scala.util._
trait Shape { type Unit; val sides: Int; def area: Double }
case class Point(x: Int, y: Int) extends Shape {
  private val sum = { val local = 1; local }
  var count = 0
  def move(dx: Int): Point = { val local = 1; def nested = 2; this }
}
object Point { val (a, b) = (1, 2); def make(): Point = Point(1, 2) }
enum Color { case Red, Green; case Mixed(r: Int) }
type Name = String
def topLevel(x: Int) = x
"#;

#[test]
fn scala() {
    assert_symbols(
        "Scala",
        SCALA,
        &[
            "trait Shape",
            "type Shape.Unit",
            "field Shape.sides",
            "method Shape.area",
            "class Point",
            "field Point.sum",
            "field Point.count",
            "method Point.move",
            "function move.nested",
            "object Point",
            "field Point.a",
            "field Point.b",
            "method Point.make",
            "enum Color",
            "enum-member Color.Red",
            "enum-member Color.Green",
            "enum-member Color.Mixed",
            "type Name",
            "function topLevel",
        ],
    );
}

const BASH: &str = r#"#!/bin/bash
LIMIT=1
export PATH="$PATH:/x"
LIMIT=2
FOO=1 command arg
build() { local x=1; y=2; }
function deploy { echo hi; }
if true; then conditional() { :; }; fi
"#;

#[test]
fn bash() {
    assert_symbols(
        "Shell",
        BASH,
        &[
            "variable LIMIT",
            "variable PATH",
            "function build",
            "function deploy",
            "function conditional",
        ],
    );
}
