//! Tests of proposals.

use super::*;
use crate::schema::Longest;

fn column(name: &str, value_type: ValueType, is_nullable: bool) -> InputColumn {
    InputColumn {
        name: name.to_owned(),
        value_type,
        is_nullable,
    }
}

fn long(length: u64) -> Measure {
    Measure {
        longest: Some(Longest {
            length,
            place: Place {
                row: Some(7),
                ..Place::file("x.parquet")
            },
        }),
        most_bytes: length,
        ..Measure::default()
    }
}

fn director() -> TableRequest {
    TableRequest {
        kind: Some(TableKind::Director),
        id: Some("id".into()),
        ra: Some("ra".into()),
        dec: Some("dec".into()),
        ..TableRequest::default()
    }
}

fn key_columns() -> Vec<InputColumn> {
    let id = ValueType::Integer {
        bits: 64,
        unsigned: false,
    };
    vec![
        column("id", id, true),
        column("ra", ValueType::Double, true),
        column("dec", ValueType::Double, false),
    ]
}

fn declarations(schema: &TableSchema) -> Vec<String> {
    let columns = schema.columns.iter();
    columns
        .map(|column| format!("{} {}", column.name, column.declaration))
        .collect()
}

#[test]
fn a_director_gets_fixed_lengths_and_chunk_columns_last() {
    let mut columns = key_columns();
    columns.push(column("subchunkid", ValueType::Double, true));
    columns.push(column("name", ValueType::Text, true));
    columns.push(column("empty", ValueType::Text, false));
    columns.push(column("raw", ValueType::Binary, false));
    columns.push(column("flux", ValueType::Single, false));
    columns.push(column("nan", ValueType::Single, false));
    let mut measures = vec![Measure::default(); columns.len()];
    measures[4] = long(255);
    measures[6] = long(3);
    measures[8].first_nan = Some(Place::file("x.parquet"));
    measures[0].first_null = Some(Place::file("x.parquet"));
    let request = director();
    request.check().unwrap();
    let looks = request.looks(&columns);
    assert!(looks[0].nulls && looks[1].nulls && looks[1].nan && looks[2].nan);
    assert!(!looks[2].nulls && looks[4].length && looks[3].is_nothing() && looks[7].nan);
    let Proposal {
        schema, warnings, ..
    } = request.propose(&columns, &measures).unwrap();
    let expected = [
        "id BIGINT NOT NULL",
        "ra DOUBLE NOT NULL",
        "dec DOUBLE NOT NULL",
        "name CHAR(255)",
        "empty CHAR(1) NOT NULL",
        "raw BINARY(3) NOT NULL",
        "flux FLOAT NOT NULL",
        "nan FLOAT",
        "chunkId INT UNSIGNED NOT NULL",
        "subChunkId INT UNSIGNED NOT NULL",
    ];
    assert_eq!(declarations(&schema), expected);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("NULL in a key"), "{warnings:?}");
    measures[4] = long(256);
    let error = request.propose(&columns, &measures).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataRefused);
    let said = error.to_string();
    assert!(
        said.contains("x.parquet, row 7, column name: the longest value has 256"),
        "{said}"
    );
}

#[test]
fn rows_of_other_tables_stay_within_the_limit() {
    let request = TableRequest {
        charset: Some(TableCharset::Utf8mb4),
        ..TableRequest::default()
    };
    let texts = [300, 8_000, 70_000, 7_900, 20_000_000];
    let columns: Vec<InputColumn> = (0..texts.len())
        .map(|number| column(&format!("c{number}"), ValueType::Text, true))
        .collect();
    let measures: Vec<Measure> = texts.into_iter().map(long).collect();
    let Proposal { schema, notes, .. } = request.propose(&columns, &measures).unwrap();
    let expected = [
        "c0 VARCHAR(300)",
        "c1 VARCHAR(8000)",
        "c2 MEDIUMTEXT",
        "c3 VARCHAR(7900)",
        "c4 LONGTEXT",
    ];
    assert_eq!(declarations(&schema), expected);
    assert_eq!(notes.len(), 2);
    assert_eq!(schema.kind, None);
}

#[test]
fn what_is_lacking_or_senseless_is_said() {
    let with = |change: fn(&mut TableRequest)| {
        let mut request = director();
        change(&mut request);
        request.check().unwrap_err().to_string()
    };
    assert!(with(|r| r.id = None).contains("needs --id, --ra, --dec"));
    assert!(with(|r| r.kind = Some(TableKind::Regular)).contains("not for tables of kind regular"));
    assert!(with(|r| r.kind = None).contains("without --kind"));
    assert!(with(|r| r.kind = Some(TableKind::Child)).contains("needs --director"));
    let mut request = director();
    request.ra = Some("RA".into());
    let columns = key_columns();
    let error = request
        .propose(&columns, &vec![Measure::default(); 3])
        .unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean ra?"));
}

#[test]
fn a_definition_is_completed() {
    let json = br#"{"schema": [{"name": "id", "type": "BIGINT"}, {"name": "ra", "type": "DOUBLE"},
        {"name": "dec", "type": "DOUBLE NULL"}, {"name": "chunkId", "type": "INT"},
        {"name": "x", "type": "TEXT"}]}"#;
    let schema = TableSchema::from_json(json).unwrap();
    let request = director().or_from(&schema).unwrap();
    let schema = request.complete(schema).unwrap();
    let expected = [
        "id BIGINT NOT NULL",
        "ra DOUBLE NOT NULL",
        "dec DOUBLE NULL",
        "chunkId INT",
        "x TEXT",
        "subChunkId INT UNSIGNED NOT NULL",
    ];
    assert_eq!(declarations(&schema), expected);
    assert_eq!(schema.charset.as_deref(), Some("latin1"));
}
