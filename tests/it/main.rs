//! All integration tests in one binary: each further one would link arrow again.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests stop at what they did not expect"
)]

mod arranged;
mod arrow_files;
mod arrow_types;
mod bad_values;
mod check;
mod crash;
mod dialect;
mod drop_in;
mod estimate;
mod fault_proxy;
mod finishes;
mod fits;
mod geometry;
mod golden;
mod golden_cases;
mod harness;
mod http_server;
mod ingest_calls;
mod ingest_loads;
mod ingest_service;
mod init;
mod job_bench;
mod job_engines;
mod job_generations;
mod job_kills;
mod job_remains;
mod jobs;
mod json_rows;
mod load;
mod load_plan;
mod loading;
mod manifest;
mod manifest_formats;
mod mariadb;
mod mariadb_bytes;
mod mariadb_numbers;
mod mariadb_rules;
mod mariadb_times;
mod memory;
mod merge;
mod naive_chunker;
mod naive_tokenizer;
mod odd_servers;
mod only_chunks;
mod options;
mod parquet_corpora;
mod parquet_out;
mod pipes;
mod place_conformance;
mod place_faults;
mod place_http;
mod place_s3;
mod place_s3_faults;
mod places;
mod positions;
mod random_catalogue;
mod random_columns;
mod random_partitions;
mod random_text;
mod refusals;
mod regressions;
mod rejects;
mod remote_inputs;
mod rerun;
mod resume;
mod round_trip;
mod routing;
mod row_splitter;
mod s3_script;
mod s3_server;
mod sanitize;
mod schema;
mod serve;
mod sky;
mod slurm_server;
mod sph;
mod sph_copies;
mod sph_tools;
mod stage;
mod stage_kills;
mod stage_repairs;
mod stage_servers;
mod stage_sites;
mod star_file;
mod stars;
