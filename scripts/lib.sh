# Shared by the scripts of this folder: where things are, what is being done, what must be installed.
# Source it; it changes to the root of the repository and defines functions only.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=${TIMONEL_VENV:-$root/.venv}

# Debian packages of a node with real containers (as root), and of the tests beside them.
node_packages=(containerd containernetworking-plugins catatonit busybox-static nftables iproute2 util-linux)
test_packages=(docker-registry skopeo)
etcd_packages=(etcd-server etcd-client)

step() { printf '\033[1m==>\033[0m %s\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

# apt_install PACKAGE...: installs what is missing of them; needs root and Debian.
apt_install() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    is_root || fail "these Debian packages are needed: ${missing[*]}. Install them as root: apt-get install ${missing[*]}"
    command -v apt-get >/dev/null || fail "apt-get is not here; install by hand: ${missing[*]}"
    step "Installing Debian packages: ${missing[*]}"
    if [ -z "${apt_updated:-}" ]; then
        apt-get update -qq || fail "apt-get update failed"
        apt_updated=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
        || fail "apt-get could not install: ${missing[*]}"
}

# find_python: the newest Python of at least 3.11, in $python.
find_python() {
    for python in python3.14 python3.13 python3.12 python3.11 python3; do
        if command -v "$python" >/dev/null \
            && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return
        fi
    done
    is_root || fail "Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)"
    apt_install python3
    python=python3
}

# make_environment EXTRAS: the virtual environment with Timonel installed in it, made anew when pyproject.toml changed.
make_environment() {
    local extras=$1 wanted stamp
    find_python
    stamp=$venv/.timonel-installed
    wanted=$(cat pyproject.toml tools/*.py src/timonel/schema/*.py 2>/dev/null | sha256sum)
    if [ -f "$stamp" ] && [ -f src/timonel/schema/types.bin ]; then
        case "$(cat "$stamp")" in
            "$wanted $extras" | "$wanted dev") return ;;  # dev has everything in it
        esac
    fi
    if [ ! -x "$venv/bin/python" ]; then
        step "Making a virtual environment in ${venv#"$root"/} with $($python --version)"
        if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
            rm -rf "$venv"
            apt_install python3-venv
            "$python" -m venv "$venv" || fail "cannot make a virtual environment"
        fi
    fi
    step "Installing Timonel [$extras] and what it needs from PyPI (a minute, the first time)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" \
        || fail "pip could not install Timonel; its message is above"
    # An editable install has no compiled modules yet, and where Python is told to write none it never would.
    "$venv/bin/python" -m compileall -q src/timonel
    printf '%s' "$wanted $extras" > "$stamp"
}

# without_etcd: what pytest leaves out where etcd is not here and cannot be installed, in $etcd_left_out; in CI it fails.
without_etcd() {
    etcd_left_out=()
    if is_root && command -v apt-get >/dev/null; then apt_install "${etcd_packages[@]}"; fi
    command -v etcd >/dev/null && command -v etcdctl >/dev/null && return
    [ -z "${CI:-}" ] || fail "etcd is not on the PATH (Debian: apt-get install ${etcd_packages[*]})"
    local tests=(tests/store/etcd tests/server/test_sharing.py tests/faults/test_etcd_away.py tests/faults/test_torture.py)
    printf 'left out: %s (etcd is not on the PATH: as root, apt-get install %s)\n' "${tests[*]}" "${etcd_packages[*]}"
    for each in "${tests[@]}"; do etcd_left_out+=(--ignore "$each"); done
}

# find_kubectl: kubectl on the PATH, else Debian's.
find_kubectl() {
    command -v kubectl >/dev/null || apt_install kubernetes-client
}
