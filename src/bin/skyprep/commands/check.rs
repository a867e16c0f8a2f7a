//! `skyprep check`

use anyhow::Result;
use serde_json::{Value, json};
use skyprep::error::{Error, ErrorKind};
use skyprep::pipeline::{add_columns, measure};
use skyprep::schema::{
    DirectorFinding, InputColumns, Look, Measure, Refuser, Severity, TableKind, TableSchema,
    ValueType, check_director_columns, check_measured_columns,
};
use skyprep::source::{Input, InputFormat};

use super::streams::total_bytes;
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;
use crate::table_args::CheckArgs;

/// Says what Qserv and MariaDB would object to.
pub fn run(args: &CheckArgs, session: &Session) -> Result<()> {
    let schema = TableSchema::read(&args.schema)?;
    let kind = TableSchema::agreed_kind(args.kind.map(TableKind::from), Some(&schema))?;
    let has_inputs = !args.input.inputs.is_empty() || args.input.files_from.is_some();
    let inputs = match has_inputs {
        true => settings::inputs(&args.input, false, session)?,
        false => Vec::new(),
    };
    let findings = match kind {
        TableKind::Director if has_inputs => findings_in_data(args, &schema, &inputs, session)?,
        TableKind::Director => check_director_columns(&schema, args.allow_varchar),
        _ => Vec::new(),
    };
    let shown = args.schema.display().to_string();
    if args.json {
        let text = format!("{:#}\n", as_json(&shown, &schema, kind, &findings));
        session.printer.data(text.as_bytes())?;
    } else {
        let text = match session.printer.is_quiet() {
            // Errors are to be seen.
            true => findings.iter().filter(is_error).map(in_line).collect(),
            false => in_words(&shown, &schema, kind, &findings),
        };
        session.printer.data(text.as_bytes())?;
        if !has_inputs && findings.iter().any(|finding| finding.instead.is_none()) {
            let message = "name the inputs too, and n will be told: it needs the data";
            session.printer.note(message);
        }
    }
    let count = errors(&findings);
    if count == 0 {
        return Ok(());
    }
    let columns = if count == 1 { "column" } else { "columns" };
    let message = format!("{shown}: {count} {columns} that a director can't have");
    let mut error = Error::new(ErrorKind::DataRefused, message);
    let mut refusers = findings.iter().map(|finding| finding.refuser);
    if refusers.all(|refuser| refuser == Refuser::Documentation) {
        error = error.hint("VARCHAR and VARBINARY work in practice: --allow-varchar");
    }
    Err(error.into())
}

/// Looks at the data of the columns that are objected to.
fn findings_in_data(
    args: &CheckArgs,
    schema: &TableSchema,
    inputs: &[Input],
    session: &Session,
) -> Result<Vec<DirectorFinding>> {
    let limits = session.pass_limits();
    let read_as = settings::read_as(
        &args.text_in,
        args.fits.hdu.as_deref(),
        Some(schema),
        settings::chunk_columns(),
    )?;
    let (texts, tables): (Vec<&Input>, Vec<&Input>) = inputs
        .iter()
        .partition(|input| input.format == InputFormat::Text);
    let tables: Vec<Input> = tables.into_iter().cloned().collect();
    let columns = match tables.is_empty() {
        true => Vec::new(),
        false => {
            let mut columns = InputColumns::default();
            add_columns(&tables, &read_as, &mut columns, &limits)?;
            columns.finish()?.0
        }
    };
    // All columns of a text have lengths.
    let has_length = |name: &str| {
        let column = columns.iter().find(|column| column.name == name);
        column.map_or(!texts.is_empty(), |column| {
            matches!(
                column.value_type,
                ValueType::Text | ValueType::Binary | ValueType::FixedBinary(_)
            )
        })
    };
    let objected = check_director_columns(schema, args.allow_varchar);
    let looks: Vec<(&str, Look)> = schema
        .columns
        .iter()
        .filter(|column| objected.iter().any(|finding| finding.column == column.name))
        .filter(|column| has_length(&column.name))
        .map(|column| {
            let look = Look {
                length: true,
                bytes: column.mysql_type.is_binary(),
                ..Look::default()
            };
            (column.name.as_str(), look)
        })
        .collect();
    let charset = settings::charset(Some(&args.charset));
    let progress = Progress::new(session);
    if !looks.is_empty() {
        progress.start(&session.command, total_bytes(inputs));
    }
    let measures = measure(inputs, &looks, charset, &read_as, &limits, &progress);
    progress.end();
    let measures = measures?;
    let measure_of = |name: &str| -> Option<&Measure> {
        let at = looks.iter().position(|(known, _)| *known == name)?;
        measures.get(at).filter(|measure| measure.is_there)
    };
    Ok(check_measured_columns(
        schema,
        args.allow_varchar,
        measure_of,
    ))
}

fn errors(findings: &[DirectorFinding]) -> usize {
    findings.iter().filter(is_error).count()
}

fn is_error(finding: &&DirectorFinding) -> bool {
    finding.severity == Severity::Error
}

fn in_line(finding: &DirectorFinding) -> String {
    let label = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{label}: {}\n", finding.message)
}

fn in_words(
    shown: &str,
    schema: &TableSchema,
    kind: TableKind,
    findings: &[DirectorFinding],
) -> String {
    if kind != TableKind::Director {
        return format!(
            "{shown}: a {} table; only directors are checked so far\n",
            kind.name()
        );
    }
    if findings.is_empty() {
        let count = schema.columns.len();
        return format!("{shown}: a director may have all its {count} columns\n");
    }
    findings.iter().map(in_line).collect()
}

fn as_json(
    shown: &str,
    schema: &TableSchema,
    kind: TableKind,
    findings: &[DirectorFinding],
) -> Value {
    let finding = |finding: &DirectorFinding| {
        let longest = finding.longest.as_ref();
        let place = longest.map(|longest| &longest.place);
        json!({
            "column": finding.column,
            "type": finding.type_text,
            "severity": finding.severity,
            "refused_by": finding.refuser,
            "use": finding.instead,
            "longest": longest.map(|longest| longest.length),
            "file": place.and_then(|place| place.file.as_ref()),
            "row": place.and_then(|place| place.row),
            "line": place.and_then(|place| place.line),
            "message": finding.message,
        })
    };
    let errors = errors(findings);
    json!({
        "format": "skyprep-check",
        "version": 1,
        "schema": shown,
        "table": schema.table,
        "kind": kind,
        "errors": errors,
        "warnings": findings.len() - errors,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
