//! Whatever a template is: checking and rendering it ends, soon, without a panic and without filling the memory.

use std::time::{Duration, Instant};

use crate::world::recorded;
use template::{RenderError, check, render};

/// A small generator of numbers: the same ones in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    "+",
    " ",
    "\n",
    "\r",
    "\t",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "|",
    "~",
    "*",
    "**",
    "/",
    "//",
    "%",
    "=",
    "==",
    "<",
    ">=",
    "!",
    ".",
    "..",
    "'",
    "\"",
    "\\",
    "'a'",
    "'\\x41'",
    "'\\u00e9'",
    "'é😀'",
    "1",
    "0",
    "012",
    "1_000",
    "1.5",
    "1e",
    "1e400",
    "0x",
    "99999999999999999999999999999999999999999",
    "if",
    "else",
    "elif",
    "endif",
    "for",
    "in",
    "endfor",
    "set",
    "endset",
    "x",
    "y",
    "ds",
    "params",
    "ti",
    "loop",
    "namespace",
    "range",
    "not",
    "and",
    "or",
    "is",
    "defined",
    "none",
    "true",
    "filter",
    "endfilter",
    "with",
    "endwith",
    "raw",
    "endraw",
    "do",
    "upper",
    "default",
    "map",
    "select",
    "sort",
    "join",
    "first",
    "format",
    "round",
    "int",
    "macros",
    "ds_add",
    "timedelta",
    "logical_date",
    "strftime",
    "add",
    "xcom_pull",
    "var",
    "value",
    "conn",
    "é",
    "\u{1c}",
    "\0",
    "\u{a0}",
    "😀",
    "text",
];

#[test]
fn junk_never_panics() {
    let (recorded, worlds) = recorded();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..30_000 {
        let mut source = String::new();
        if round % 2 == 0 {
            // Pieces in any order.
            for _ in 0..numbers.below(30) {
                source.push_str(numbers.pick(PIECES));
                source.push_str(if numbers.below(3) == 0 { " " } else { "" });
            }
        } else {
            // A good template with something cut out and something put in.
            let case = &recorded.cases[numbers.below(recorded.cases.len())];
            let chars: Vec<char> = case.template.chars().collect();
            let start = numbers.below(chars.len() + 1);
            let end = (start + numbers.below(4)).min(chars.len());
            source.extend(&chars[..start]);
            source.push_str(numbers.pick(PIECES));
            source.extend(&chars[end..]);
        }
        let world = if round % 3 == 0 { "manual" } else { "scheduled" };
        let checked = check(&source);
        let rendered = render(&source, &worlds[world].context());
        if checked.is_err() {
            assert!(matches!(rendered, Err(RenderError::NeedsPython { .. })), "{source}: {rendered:?}");
        }
    }
}

/// Renders a template that asks for too much; it must be told so, and soon.
fn too_much(source: &str) {
    let (_, worlds) = recorded();
    let begun = Instant::now();
    let rendered = render(source, &worlds["scheduled"].context());
    assert!(matches!(rendered, Err(RenderError::TooMuch { .. })), "{source}: {rendered:?}");
    // Far more than it takes, for slow machines and builds without optimisation.
    assert!(begun.elapsed() < Duration::from_secs(60), "{source} took {:?}", begun.elapsed());
}

#[test]
fn loops_end() {
    too_much("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
    too_much("{% for i in range(100000) %}{{ range(100000) | sum }}{% endfor %}");
    too_much("{% for i in range(100000) %}{{ params.text * 1000 }}{% endfor %}");
}

#[test]
fn texts_and_lists_stay_small() {
    too_much("{{ 'a' * 10 ** 9 }}");
    too_much("{{ [1] * 10 ** 9 }}");
    too_much("{{ params.text | center(10 ** 9) }}");
    too_much("{{ '5'.zfill(10 ** 12) }}");
    too_much("{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}");
    too_much("{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}");
    too_much("{{ ('a' * 1000000) | join('b' * 1000000) }}");
    too_much("{{ ('a\n' * 10000) | indent(1000000, true) }}");
    let doubled = "{% set x = [x, x] %}".repeat(60);
    too_much(&format!("{{% set x = 1 %}}{doubled}{{{{ x }}}}"));
    too_much(&format!("{{% set x = 1 %}}{doubled}{{{{ x | tojson }}}}"));
    too_much(&format!("{{% set x = 1 %}}{doubled}{{{{ x == [x, 1] }}}}"));
    too_much("{% set ns = namespace(x=1) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}");
    too_much("{% set ns = namespace(x='a') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}");
}

#[test]
fn templates_that_nest_deep_or_go_on_and_on_are_refused() {
    for source in [
        format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(120), "]".repeat(120)),
        format!("{{{{ {}x }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)),
        format!("{{{{ params{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ params{} }}}}", "|string".repeat(100_000)),
        format!("{{{{ 'a'{} }}}}", " ~ 'a'".repeat(100_000)),
        format!("{{% if ds %}}{}{{% endif %}}", "{% elif ds %}".repeat(100_000)),
        "{% if ds %}".repeat(5_000),
        format!("{}{}", "{% if ds %}".repeat(5_000), "{% endif %}".repeat(5_000)),
        format!("{}{}", "{% for x in params %}".repeat(140), "{% endfor %}".repeat(140)),
        "{{ ds }}".repeat(100_000),
        format!("{{{{ ds }}}}{}", "x".repeat(10_000_000)),
    ] {
        let refused = check(&source);
        assert!(refused.is_err(), "{}…", &source[..40]);
    }
}

#[test]
fn what_is_not_nested_too_deep_is_rendered() {
    let (_, worlds) = recorded();
    let context = worlds["scheduled"].context();
    let nested = format!("{}{{{{ ds }}}}{}", "{% if ds %}".repeat(40), "{% endif %}".repeat(40));
    assert_eq!(render(&nested, &context).as_deref(), Ok("2024-02-29"));
    let added = format!("{{{{ 1{} }}}}", " + 1".repeat(60));
    assert_eq!(render(&added, &context).as_deref(), Ok("61"));
    let listed = format!("{{{{ ({}) | length }}}}", "[".repeat(60) + &"]".repeat(60));
    assert_eq!(render(&listed, &context).as_deref(), Ok("1"));
}
