#!/usr/bin/env bash
# The daily cycle of a recommender: from a new log to a new version in service. If a gate fails, the
# old version stays in service.
#
#   examples/daily.sh LOG [CONFIG] [section.key=value ...]
#
# LOG is the log up to today, a file or a folder. The other arguments are those of
# python -m tfrec_attn.train. These are the gates, in order:
#
#   log        LOG is valid: by $SCHEMA, if there is one, and compared with the log before
#   training   starts from the run of the version in service
#   export     writes the next version of the servable
#   verify     the version ranks as its run
#   promotion  the version is served as canary, and meets $LIMITS; then stable moves to it
#
# Exit codes:
#
#   0    the new version is stable; or it is the first one, and $CONFIG_FILE was written
#   2    the arguments or the settings cannot be used; nothing was begun
#   10   stopped at the log
#   20   stopped at the training
#   30   stopped at the export
#   40   stopped at verify
#   50   stopped at the promotion
#   75   another cycle of this model runs
#
# After each code but 0 the version in service is the one before, and the last line of stderr says
# which. The same command on the same day continues where it stopped, from the last checkpoint of
# the training. Nothing else has to be cleaned up.
#
# Settings, as environment variables with their defaults:

NAME=${NAME:-recommender}                         # name of the served model
SERVABLES=${SERVABLES:-servables}                 # folder with the folder of the versions, $NAME
WORK=${WORK:-daily}                               # folder of the cycles: reports and runs
CONFIG_FILE=${CONFIG_FILE:-models.config}         # configuration of the server
TARGET=${TARGET:-127.0.0.1:8500}                  # its gRPC address
LIMITS=${LIMITS:-serving/deploy/limits.yaml}      # limits that a canary must meet
SCHEMA=${SCHEMA:-schema.pbtxt}                    # schema of a valid log
REQUESTS=${REQUESTS:-requests.jsonl}              # requests of yesterday: how many ids are unknown
KEEP=${KEEP:-3}                                   # versions that stay, besides those with a label
EXPORT=${EXPORT:-}                                # further options of the export, such as --k 20
DAY=${DAY:-$(date +%F)}                           # name of the cycle
PYTHON=${PYTHON:-python}

set -euo pipefail
stable=

say() { echo "daily: $*" >&2; }

stop() { # CODE WORDS...
    local code=$1
    shift
    say "stopped at $*."
    if [[ -n $stable ]]; then say "version $stable of $NAME still serves."; fi
    exit "$code"
}

module() { "$PYTHON" -m "tfrec_attn.$@"; }

sum_of() { # LOG
    find -L "$1" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12
}

if [[ $# -lt 1 || $1 == -* || ! -e ${1:-} ]]; then
    say "the first argument must be the log, a file or a folder, but is '${1:-}'."
    exit 2
fi
log=$(realpath "$1")
shift
config=()
if [[ $# -gt 0 && $1 != *=* ]]; then
    config=("$1")
    shift
fi
data=()
for argument in "$@"; do
    if [[ $argument == data.* ]]; then data+=("$argument"); fi
done
folder=$SERVABLES/$NAME
if ! mkdir -p "$WORK/$NAME" "$folder" || [[ ! -w $WORK/$NAME || ! -w $folder ]]; then
    stop 2 "the settings: $WORK/$NAME and $folder must be folders that can be written"
fi

exec 9>"$WORK/$NAME/lock"
if ! flock --nonblock 9; then
    say "another cycle of $NAME runs in $WORK."
    exit 75
fi

# --- What serves now ---

protect=()
if [[ -e $CONFIG_FILE ]]; then
    versions=$(module serving.rollback --list --model "$NAME" --config "$CONFIG_FILE" \
        --folder "$folder") || stop 2 "the settings"
    stable=$(awk '("," $2 ",") ~ /,stable,/ { print $1 }' <<<"$versions")
    if [[ -z $stable ]]; then stop 2 "the settings: $CONFIG_FILE has no stable version in $folder"; fi
    for version in $(awk 'NR > 1 && $2 != "-" { print $1 }' <<<"$versions"); do
        protect+=(--protect "$version")
    done
    if [[ ! -e $LIMITS ]]; then stop 2 "the settings: there are no limits $LIMITS"; fi
fi

# A cycle is known by its day, log and arguments.
hash=$({ sum_of "$log"; printf '%s\n' "${config[@]}" "$@"; } | sha256sum | cut -c 1-8)
cycle=$WORK/$NAME/$DAY-$hash
mkdir -p "$cycle"
if [[ -e $cycle/promoted ]]; then
    if [[ $(<"$cycle/version") == "$stable" ]]; then
        say "version $stable is in service already: nothing to do."
        exit 0
    fi
    stop 2 "the settings: version $(<"$cycle/version") was promoted before, and is not stable any \
more; remove $cycle/promoted to promote it again"
fi
if [[ ! -e $cycle/before ]]; then
    before= nearest=0
    for one in "$WORK/$NAME"/*/version; do
        # A version with items that were added to a run has a greater number than that of the run.
        if [[ -n $stable && -e $one && -d $(dirname "$one")/run ]]; then
            number=$(<"$one")
            if ((nearest < number && number <= stable)); then
                before=$(dirname "$one") nearest=$number
            fi
        fi
    done
    echo "$before" >"$cycle/before"
    printf '%s\n%s\n' "$log" "$(sum_of "$log")" >"$cycle/log"
fi
before=$(<"$cycle/before")

# --- The gates ---

options=("${data[@]}")
if [[ ${#config[@]} -gt 0 && -e ${config[0]} ]]; then options+=(--config "${config[0]}"); fi
if [[ -e $SCHEMA ]]; then options+=(--schema "$SCHEMA"); fi
if [[ -e $REQUESTS ]]; then options+=(--serving-log "$REQUESTS"); fi
if [[ -n $before ]]; then
    { read -r earlier && read -r sum; } <"$before/log"
    # The log itself says more than its report, unless it was overwritten.
    if [[ -e $earlier && $(sum_of "$earlier") == "$sum" ]]; then
        options+=(--against "$earlier")
    else
        options+=(--against "$before/report")
    fi
fi
rm -rf "$cycle/report"
module data.validate "$log" "${options[@]}" --to "$cycle/report" ||
    stop 10 "the log: $cycle/report says what is wrong, if it could be read"

warm=()
if [[ -n $before ]]; then warm=("train.warm_start=$before/run"); fi
module train "${config[@]}" "$@" data.source=file "data.path=$log" "run_dir=$cycle/run" \
    "${warm[@]}" || stop 20 "the training"

version=$(cat "$cycle/version" 2>/dev/null || true)
if [[ -z $version || ! -d $folder/$version ]]; then
    highest=$(find "$folder" -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -xE '[0-9]+' |
        sort -n | tail -n 1) || true
    version=$((${highest:-0} + 1))
    echo "$version" >"$cycle/version"
    read -ra more <<<"$EXPORT"
    module export "$cycle/run" --to "$folder" --version "$version" --keep "$KEEP" \
        "${protect[@]}" "${more[@]}" || stop 30 "the export"
fi

if ! module export.verify "$folder/$version" --run "$cycle/run"; then
    # No server shall find it.
    rm -rf "$cycle/refused-$version"
    mv "$folder/$version" "$cycle/refused-$version"
    stop 40 "verify: version $version is now $cycle/refused-$version"
fi

if [[ -z $stable ]]; then
    cat >"$CONFIG_FILE" <<END
# Models, versions and labels of the server; examples/daily.sh and tfrec_attn.serving.rollback change it.
model_config_list {
  config {
    name: "$NAME"
    base_path: "$(realpath "$folder")"
    model_platform: "tensorflow"
    model_version_policy {
      specific {
        versions: $version
      }
    }
    version_labels { key: "stable" value: $version }
    version_labels { key: "canary" value: $version }
    version_labels { key: "previous" value: $version }
  }
}
END
    touch "$cycle/promoted"
    say "version $version is the first one; start a server with $CONFIG_FILE."
    exit 0
fi

module serving.promote --target "$TARGET" --model "$NAME" --run "$cycle/run" --limits "$LIMITS" \
    --config "$CONFIG_FILE" --version "$version" || stop 50 "the promotion of version $version"
touch "$cycle/promoted"

# --- What is not needed any more ---

for one in "$WORK/$NAME"/*/log; do
    old=$(dirname "$one")
    if [[ $old != "$cycle" && ! -d $folder/$(cat "$old/version" 2>/dev/null || echo none) ]]; then
        rm -rf "$old"
    fi
done
say "version $version of $NAME is in service."
