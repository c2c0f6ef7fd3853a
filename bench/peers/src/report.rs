//! From the lines of results to tables: Markdown, and a page with bars.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::measure::quantile;
use crate::plan::Line;

/// What a workload is judged by.
struct Measure {
    workload: &'static str,
    what: &'static str,
    figure: &'static str,
    /// Whether less is better.
    less: bool,
}

const MEASURES: &[Measure] = &[
    Measure { workload: "w1", what: "one producer, acked at Os", figure: "mb_s", less: false },
    Measure { workload: "w1b", what: "the same in batches", figure: "mb_s", less: false },
    Measure {
        workload: "w2",
        what: "one producer, each append synced",
        figure: "p50_us",
        less: true,
    },
    Measure {
        workload: "w3",
        what: "64 producers, each append synced",
        figure: "msgs_s",
        less: false,
    },
    Measure { workload: "w4", what: "a batch a sync", figure: "mb_s", less: false },
    Measure { workload: "r1", what: "sequential replay", figure: "mb_s", less: false },
    Measure { workload: "r2", what: "random point reads", figure: "msgs_s", less: false },
    Measure { workload: "r3", what: "append at Os to delivery", figure: "p50_us", less: true },
    Measure { workload: "o1", what: "open after close", figure: "open_ms", less: true },
    Measure { workload: "o1k", what: "open after a kill", figure: "open_ms", less: true },
    Measure {
        workload: "fill",
        what: "disk bytes a payload byte",
        figure: "disk_per_byte",
        less: true,
    },
    Measure {
        workload: "synced",
        what: "syncs an append in W2",
        figure: "syncs_per_append",
        less: true,
    },
];

type Results = BTreeMap<(String, usize), BTreeMap<String, Vec<Line>>>;

/// Writes `report.md` and `report.html` beside the lines.
pub fn write(lines: &Path) {
    let text = std::fs::read_to_string(lines).expect("the results");
    let mut results = Results::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("a line of results");
        let place = results.entry((line.workload.clone(), line.size)).or_default();
        place.entry(line.contender.clone()).or_default().push(line);
    }
    let (mut markdown, mut html) = (String::new(), String::from(HEAD));
    for measure in MEASURES {
        let sizes = results.iter().filter(|((workload, _), _)| workload == measure.workload);
        for ((_, size), contenders) in sizes {
            let rows = rows(measure, contenders);
            table(&mut markdown, measure, *size, &rows);
            bars(&mut html, measure, *size, &rows);
        }
    }
    html.push_str("</body></html>\n");
    std::fs::write(lines.with_file_name("report.md"), &markdown).expect("write");
    std::fs::write(lines.with_file_name("report.html"), html).expect("write");
    println!("{markdown}");
}

struct Row {
    contender: String,
    value: f64,
    spread: (f64, f64),
    more: String,
    note: String,
    is_peer: bool,
}

fn rows(measure: &Measure, contenders: &BTreeMap<String, Vec<Line>>) -> Vec<Row> {
    let mut rows: Vec<Row> = contenders
        .iter()
        .filter_map(|(contender, lines)| {
            let sorted = |figure: &str| {
                let outcomes = lines.iter().filter_map(|line| line.outcome.as_ref());
                let mut values: Vec<f64> =
                    outcomes.filter_map(|outcome| outcome.figures.get(figure).copied()).collect();
                values.sort_unstable_by(f64::total_cmp);
                values
            };
            let values = sorted(measure.figure);
            let (low, high) = (*values.first()?, *values.last()?);
            let mut more = String::new();
            for figure in ["p99_us", "cpu_ns_msg", "peak_mib", "others"] {
                let values = sorted(figure);
                if !values.is_empty() && figure != measure.figure {
                    let _ = write!(more, "{figure} {} · ", number(quantile(&values, 0.5)));
                }
            }
            let outcome = lines.iter().find_map(|line| line.outcome.as_ref());
            Some(Row {
                contender: contender.clone(),
                value: quantile(&values, 0.5),
                spread: (low, high),
                more: more.trim_end_matches(" · ").to_owned(),
                note: outcome.map_or_else(String::new, |outcome| outcome.note.clone()),
                is_peer: counts(contender, measure.workload),
            })
        })
        .collect();
    rows.sort_by(|a, b| match measure.less {
        true => a.value.total_cmp(&b.value),
        false => b.value.total_cmp(&a.value),
    });
    rows
}

fn counts(contender: &str, workload: &str) -> bool {
    #[cfg(feature = "peers")]
    return crate::peers::NAMES.contains(&contender)
        && crate::peers::keeps_promise(contender, workload);
    #[cfg(not(feature = "peers"))]
    return contender.is_empty() && workload.is_empty();
}

fn table(out: &mut String, measure: &Measure, size: usize, rows: &[Row]) {
    let best = rows.iter().find(|row| row.is_peer).map(|row| row.value);
    let (workload, what, figure) = (measure.workload, measure.what, measure.figure);
    let _ = writeln!(out, "### {} {size} B: {what} ({figure})\n", workload.to_uppercase());
    let _ = writeln!(out, "| contender | median | min to max | to the best peer | more | note |");
    let _ = writeln!(out, "|---|---|---|---|---|---|");
    for row in rows {
        let ratio = best.map_or_else(String::new, |best| format!("{:.2}x", row.value / best));
        let (low, high) = (number(row.spread.0), number(row.spread.1));
        let (value, name) = (number(row.value), &row.contender);
        let _ = writeln!(
            out,
            "| {name} | {value} | {low} to {high} | {ratio} | {} | {} |",
            row.more, row.note
        );
    }
    out.push('\n');
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>msglog beside its \
    peers</title><style>body{font:15px system-ui;margin:2em;max-width:60em}svg{display:block}\
    text{font:13px system-ui}</style><body><h1>msglog beside its peers</h1>\n";

fn bars(out: &mut String, measure: &Measure, size: usize, rows: &[Row]) {
    let most = rows.iter().map(|row| row.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = rows.len() * 22;
    let (workload, what, figure) = (measure.workload.to_uppercase(), measure.what, measure.figure);
    let better = if measure.less { "less is better" } else { "more is better" };
    let _ = writeln!(out, "<h3>{workload}, {size} B: {what} ({figure}, {better})</h3>");
    let _ = writeln!(out, "<svg width=\"760\" height=\"{height}\" role=\"img\">");
    for (place, row) in rows.iter().enumerate() {
        let (y, width) = (place * 22, (row.value / most * 480.0).max(1.0));
        let colour = match row.contender.as_str() {
            "limit" => "#bbb",
            name if name.starts_with("msglog") => "#1769aa",
            _ => "#e0a030",
        };
        let (name, value, text) = (&row.contender, number(row.value), y + 15);
        let _ = writeln!(
            out,
            "<text x=\"0\" y=\"{text}\">{name}</text>\
             <rect x=\"150\" y=\"{y}\" width=\"{width:.0}\" height=\"18\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{text}\">{value}</text>",
            width + 156.0
        );
    }
    out.push_str("</svg>\n");
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
