//! `msglog-conformance report`: makes the matrix, JUnit, badges and baselines of recorded runs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use msglog_conformance::report::{
    Baseline, Records, badge, junit, lost, matrix, read_records, records_folder, verdict_of,
};

const HELP: &str = "\
Makes reports of recorded conformance runs.

usage: msglog-conformance report [options]

  --from DIR        the records (default: target/msglog-conformance)
  --out FILE        write the matrix of backends and groups, e.g. CONFORMANCE.md
  --check FILE      fail unless FILE is that matrix
  --junit FILE      write JUnit XML
  --badges DIR      write <backend>.json for each backend, as shields.io reads it
  --save FILE       write the verdicts as a baseline
  --baseline FILE   fail when a pass of that baseline is lost
  --strict          fail unless every backend is conformant

exit codes: 0 done, 1 a check failed, 2 wrong usage or unreadable records
";

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let said = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => match options.run() {
            Ok(findings) if findings.is_empty() => return ExitCode::SUCCESS,
            Ok(findings) => (ExitCode::from(1), findings.join("\n")),
            Err(why) => (ExitCode::from(2), why),
        },
        Ok(None) => {
            let written = out.write_all(HELP.as_bytes());
            return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
        Err(why) => (ExitCode::from(2), format!("{why}\n\n{HELP}")),
    };
    // Nothing can be done when not even the complaint can be written.
    let _ = writeln!(std::io::stderr(), "{}", said.1);
    said.0
}

#[derive(Debug, Default)]
struct Options {
    from: Option<PathBuf>,
    out: Option<PathBuf>,
    check: Option<PathBuf>,
    junit: Option<PathBuf>,
    badges: Option<PathBuf>,
    save: Option<PathBuf>,
    baseline: Option<PathBuf>,
    strict: bool,
}

impl Options {
    /// The options, or `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        match arguments.next().as_deref() {
            Some("report") => {}
            Some("--help" | "-h" | "help") => return Ok(None),
            Some(other) => return Err(format!("unknown command `{other}`")),
            None => return Err("a command is missing".into()),
        }
        let mut options = Self::default();
        while let Some(option) = arguments.next() {
            let place = match option.as_str() {
                "--from" => &mut options.from,
                "--out" => &mut options.out,
                "--check" => &mut options.check,
                "--junit" => &mut options.junit,
                "--badges" => &mut options.badges,
                "--save" => &mut options.save,
                "--baseline" => &mut options.baseline,
                "--strict" => {
                    options.strict = true;
                    continue;
                }
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown option `{other}`")),
            };
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
            *place = Some(value.into());
        }
        Ok(Some(options))
    }

    /// Does what was asked, and answers what does not hold.
    fn run(&self) -> Result<Vec<String>, String> {
        let from = self.from.clone().unwrap_or_else(records_folder);
        let records = read_records(&from).map_err(|cause| format!("records: {cause}"))?;
        if records.is_empty() {
            return Err(format!("there are no records in {}: run the tests first", from.display()));
        }
        self.write(&records)?;
        self.findings(&records)
    }

    fn write(&self, records: &Records) -> Result<(), String> {
        if let Some(path) = &self.out {
            write(path, &matrix(records))?;
        }
        if let Some(path) = &self.junit {
            write(path, &junit(records))?;
        }
        if let Some(path) = &self.save {
            let json = serde_json::to_string_pretty(&verdicts(records));
            write(path, &(json.map_err(|cause| cause.to_string())? + "\n"))?;
        }
        if let Some(folder) = &self.badges {
            for (backend, records) in records {
                write(&folder.join(format!("{backend}.json")), &badge(records))?;
            }
        }
        Ok(())
    }

    fn findings(&self, records: &Records) -> Result<Vec<String>, String> {
        let mut findings = Vec::new();
        if let Some(path) = &self.check
            && read(path)? != matrix(records)
        {
            findings.push(format!("{} is not what the records say: --out it", path.display()));
        }
        if let Some(path) = &self.baseline {
            let baseline: Baseline = serde_json::from_str(&read(path)?)
                .map_err(|cause| format!("{}: {cause}", path.display()))?;
            findings.extend(lost(&baseline, records));
        }
        if self.strict {
            let verdicts = records.iter().map(|(backend, all)| (backend, verdict_of(all)));
            let bad = verdicts.filter(|(_, (_, conformant))| !conformant);
            findings.extend(bad.map(|(backend, (words, _))| format!("{backend}: {words}")));
        }
        Ok(findings)
    }
}

fn verdicts(records: &Records) -> Baseline {
    let each = |records: &std::collections::BTreeMap<String, _>| {
        let verdict = |record: &msglog_conformance::report::Record| record.verdict;
        records.iter().map(|(id, record)| (id.clone(), verdict(record))).collect()
    };
    records.iter().map(|(backend, records)| (backend.clone(), each(records))).collect()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    }
    fs::write(path, text).map_err(|cause| format!("{}: {cause}", path.display()))
}
