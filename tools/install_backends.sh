#!/usr/bin/env bash
# Installs the real back ends that the tests use into DEST/bin: prometheus, promtool, victoria-metrics, vmalert, otelcol.
#   tools/install_backends.sh DEST        then: export GLASSPOOL_BACKENDS=DEST
#
# Needs a Debian (or a derivative that can run Debian's programs) with apt and Python's usual shell tools; root is not
# needed and nothing is installed system-wide. Everything comes from Debian's unstable suite, through the mirror that
# apt is set up with: Prometheus 3 and a VictoriaMetrics that takes OTLP are in no stable release yet. Debian has the
# OpenTelemetry Collector as a Go library only, so tools/otelcol/main.go is compiled against it, which takes about three
# minutes and 1 GB of disk space that is given back. Programs that are there and answer are left alone.
set -euo pipefail

(($# == 1)) || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
source_of_otelcol=$(cd "$(dirname "$0")/otelcol" && pwd)/main.go
mkdir -p "$1/bin"
dest=$(cd "$1" && pwd)

answers() { "$dest/bin/$1" --version >/dev/null 2>&1; }

missing=()
for program in prometheus promtool victoria-metrics vmalert otelcol; do
  answers "$program" || missing+=("$program")
done
if ((${#missing[@]} == 0)); then
  echo "all back ends are there: $dest/bin"
  exit 0
fi

for tool in apt-get apt-cache dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: this script needs Debian's package tools" >&2; exit 1; }
done
work=$(mktemp -d "$dest/installing.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT # Go makes what it unpacks read-only

# -- a view of Debian unstable that belongs to this script alone ----------------------------------------------------
# The address stands before "/dists/" in what apt would fetch; asked this way it is known before any apt-get update.
mirror=$(apt-get update --print-uris | sed -n "s#^'\(.*\)/dists/.*#\1#p" | grep -v security | head -n 1 || true)
[[ -n $mirror ]] || { echo "apt is not set up with a Debian mirror" >&2; exit 1; }
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work/packages"
echo "deb $mirror sid main" >"$work/apt/sources.list"
cat >"$work/apt/apt.conf" <<SETTINGS
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/apt/lists";
Dir::Cache "$work/apt/cache";
APT::Sandbox::User "";
APT::Get::List-Cleanup "false";
SETTINGS
export APT_CONFIG=$work/apt/apt.conf
apt-get -qq update

unpack() { # directory, package...: download the packages and lay their files below the directory
  local into=$1
  shift
  mkdir -p "$into" "$work/packages"
  (cd "$work/packages" && apt-get -qq download "$@")
  for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$into"; done
  rm -rf "$work/packages"
}

put() { # file: into DEST/bin in one move, so that nobody meets half a program
  install -m 755 "$1" "$work/ready"
  mv -f "$work/ready" "$dest/bin/$(basename "$1")"
}

# -- metrics stores -------------------------------------------------------------------------------------------------
if [[ ${missing[*]} != otelcol ]]; then
  unpack "$work/stores" prometheus promtool victoria-metrics
  for program in "${missing[@]}"; do
    [[ $program == otelcol ]] || put "$work/stores/usr/bin/$program"
  done
fi

# -- the Collector --------------------------------------------------------------------------------------------------
# The library's dependencies, without those that only components use which we do not build; they are half a gigabyte.
unused='aws|cloudflare|google-cloud|google-api|mongodb|apache-arrow|gonum-v1-plot|docker|pprof|x-tools|x-image|git'
needed_by() { # package...: the Go libraries that it depends on
  apt-cache depends --important "$@" | sed -n 's/^ *|\{0,1\}Depends: \(golang-.*-dev\)$/\1/p' | sort -u
}

if [[ ${missing[*]} == *otelcol* ]]; then
  libraries=golang-opentelemetry-collector-dev
  next=$libraries
  while [[ -n $next ]]; do
    # shellcheck disable=SC2086
    next=$(needed_by $next | grep -vE -- "-($unused)-|-x-tools-dev" | grep -vxF "$libraries" || true)
    libraries+=${next:+$'\n'$next}
  done
  go=$(apt-cache depends golang-go | sed -n 's/^ *Depends: \(golang-[0-9.]*\)-go$/\1/p' | head -n 1)
  # shellcheck disable=SC2086
  unpack "$work/go" "$go-go" "$go-src" $libraries
  mkdir -p "$work/path/src/otelcol"
  cp "$source_of_otelcol" "$work/path/src/otelcol/"
  (
    export GOROOT=$work/go/usr/lib/${go/golang/go} GOPATH=$work/path:$work/go/usr/share/gocode GOCACHE=$work/gocache
    export GO111MODULE=off GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=
    cd "$work/path/src/otelcol"
    "$GOROOT/bin/go" build -trimpath -ldflags '-s -w' -o "$work/otelcol" .
  )
  put "$work/otelcol"
fi

for program in "${missing[@]}"; do
  answers "$program" || { echo "$dest/bin/$program was installed and does not answer --version" >&2; exit 1; }
done
echo "installed in $dest/bin: ${missing[*]}"
