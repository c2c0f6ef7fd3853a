//! `BROKEN.md`: the table as a page, checked to be what the table says.

use std::path::Path;

use libtest_mimic::Failed;

use crate::table::{ALSO, rows};

fn page() -> String {
    let rows = rows();
    let mut page = format!(
        "# Broken stores\n\n\
         The suite is itself tested: each of these {} stores is broken on purpose, and each is \
         caught by the case that stands\nbeside it, for the reason that stands in the table's \
         source (`tests/broken_stores/table.rs`). In the stores that they\nare made of, \
         nothing is red. `cargo test -p msglog-conformance --test broken_stores` proves both; \
         with `BLESS=1`\nit rewrites this page.\n\n| store | what is wrong | caught by |\n|---|---|---|\n",
        rows.len()
    );
    for row in rows {
        page += &format!("| {} | {} | `{}` |\n", row.name(), row.wrong, row.case);
    }
    page += "\nEvery other case can fail too, as these show:\n\n| case | store |\n|---|---|\n";
    for (store, case) in ALSO {
        page += &format!("| `{case}` | {store} |\n");
    }
    page
}

pub(crate) fn check() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("BROKEN.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page())?;
    }
    let written = std::fs::read_to_string(&path)?;
    if written != page() {
        return Err(Failed::from("BROKEN.md is not what the table says: run with BLESS=1"));
    }
    Ok(())
}
