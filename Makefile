# `make test` is all that continuous integration does; `make demo` shows the tool at work.

.PHONY: test crash setup format lint demo clean-demo bench

# One after another, so that the first complaint is the last line.
.NOTPARALLEL:

test: setup format lint
	cargo test --locked

# A thousand kills at random moments, where `make test` does 40; a thousand of the tasks and commits
# of jobs, and a hundred of runs to a bucket.
crash:
	SKYPREP_CRASH_KILLS=1000 cargo test --locked --test it -- --nocapture crash:: job_kills:: \
		stage_kills::kills

# Installs what the tests need besides cargo, where it can.
setup:
	@tests/setup.sh

format:
	@if cargo fmt --version >/dev/null 2>&1; then \
		echo 'cargo fmt --check'; cargo fmt --check; \
	else \
		echo 'SKIPPED: cargo fmt is not installed (rustup component add rustfmt)'; \
	fi

lint:
	@if cargo clippy --version >/dev/null 2>&1; then \
		echo 'cargo clippy'; cargo clippy --locked --all-targets -- -D warnings; \
	else \
		echo 'SKIPPED: cargo clippy is not installed (rustup component add clippy)'; \
	fi

# Ratios, not times: each of these has a --help.
bench:
	cargo build --release --locked
	benches/exchange.py
	benches/values.py
	benches/partition.py
	benches/stage.py
	benches/jobs.py

# Prepares the stars below testdata/stars/out.
demo:
	cargo run --release --locked -- run testdata/stars/prep.toml

clean-demo:
	rm -rf testdata/stars/out
