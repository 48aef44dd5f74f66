#!/usr/bin/env bash
# A cluster on one machine: hosts made of namespaces, a network between them, SLURM, and faults.
#
#   lab.sh up N [--slurm]       hosts n1..nN (10.77.0.1 ...); with --slurm the controller ctl too
#   lab.sh down                 everything is gone: processes, mounts, the lab's folder
#   lab.sh status               each host: address, link, number of processes
#   lab.sh exec HOST CMD...     in a host, in the shared folder
#   lab.sh hostfile [HOST...]   mpirun's options for these hosts (all), to be used inside one of them
#   lab.sh where                the lab's folder; hosts see shared/ in it, and have a /tmp of their own
#   lab.sh pids HOST            process ids of a host as the machine numbers them
#
#   lab.sh kill HOST            all its processes die at once; boot HOST starts it again
#   lab.sh freeze HOST|PID      stopped, as a rank that hangs; thaw HOST|PID
#   lab.sh cut HOST             its network cable is out; join HOST
#   lab.sh fill HOST|PATH [KIB] no space but KIB on its /tmp, on shared/ or below; free HOST|PATH
#
# A host has its own processes, network, name, /tmp, /dev/shm and /run. The network lies in a
# namespace of its own: the machine sees no bridge and no address. Needs root; exit code 77 with one
# sentence where it cannot run, 69 while the lab of another running test is up (DYE_LAB_OWNER).
set -euo pipefail

lab=$(realpath -m "${TMPDIR:-/tmp}")/dye-lab
shared=$lab/shared
net=10.77.0
shared_size=192m
node_size=96m
self=$(realpath "${BASH_SOURCE[0]}")
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

fail() {
    echo "lab.sh: $*" >&2
    exit 1
}
usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$self"
    exit "$1"
}
cannot() {
    echo "lab.sh: the lab cannot run here: $*" >&2
    exit 77
}

# ---- what is there ------------------------------------------------------------------------------

need() {
    local slurm=$1 tool tools=(ip unshare nsenter mount ping setsid pgrep hostname)
    [ "$slurm" -eq 0 ] || tools+=(slurmctld slurmd srun sbatch munged)
    [ "$(id -u)" -eq 0 ] || cannot "it needs root"
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null ||
            cannot "$tool is missing (launch/install.sh --tests installs it)"
    done
    unshare -muinp --fork true 2>/dev/null || cannot "namespaces are not allowed"
    unshare -m sh -c 'mount -t tmpfs none /mnt' 2>/dev/null || cannot "mounts are not allowed"
    unshare -n ip link add probe type bridge 2>/dev/null || cannot "the kernel has no bridges"
}

# Only what this script started: its hosts, switch and porter go by these names.
lab_processes() { pgrep -f '^dye-lab-[a-z0-9]+ [^ ]*/lab\.sh (host n[0-9]+|host ctl|sleeper|porter)$' || true; }

host_pid() {
    local pid
    pid=$(cat "$lab/pid/$1" 2>/dev/null) || fail "no host $1 (up: $(hosts | xargs))"
    [ -d "/proc/$pid" ] || fail "host $1 is not running (lab.sh boot $1)"
    echo "$pid"
}
hosts() { [ ! -d "$lab/pid" ] || (cd "$lab/pid" && find . -type f -name '[nc]*' -printf '%f\n' | sort -V); }
address() { case $1 in ctl) echo $net.254 ;; *) echo "$net.${1#n}" ;; esac; }
slurm_wanted() { [ -e "$lab/etc/slurm.conf" ]; }

# pids_of HOST: all that share its process namespace.
pids_of() {
    local init space process
    init=$(host_pid "$1")
    space=$(readlink "/proc/$init/ns/pid")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/pid" 2>/dev/null)" != "$space" ] || echo "${process#/proc/}"
    done
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited in vain for $what"
        sleep 0.05
    done
}

# ---- hosts --------------------------------------------------------------------------------------

# spawn NAME SPACES ARGUMENT...: lab.sh ARGUMENT... as process dye-lab-NAME in new namespaces, among
# them one of processes (SPACES "": in none); its id goes to pid/NAME.
spawn() {
    local name=$1 spaces=$2 outer pid
    shift 2
    # shellcheck disable=SC2016 # for the inner shell
    local started=(bash -c 'exec -a "$0" bash "$@"' "dye-lab-$name" "$self" "$@")
    [ -z "$spaces" ] ||
        started=(unshare "$spaces" --fork --kill-child --mount-proc "${started[@]}")
    setsid env -i PATH="$PATH" TMPDIR="${lab%/*}" LC_ALL=C "${started[@]}" \
        </dev/null >"$lab/log/$name.log" 2>&1 &
    outer=$!
    disown
    pid=$outer
    if [ -n "$spaces" ]; then
        wait_until 10 "host $name" pgrep -P "$outer"
        pid=$(pgrep -P "$outer")
    fi
    wait_until 10 "process dye-lab-$name" grep -q "^dye-lab-" "/proc/$pid/cmdline"
    echo "$pid" >"$lab/pid/$name"
}

# The first process of a host: prepares what only the inside can, then takes in orphans for ever.
host_main() {
    local name=$1 tmp=$lab/mnt/$1
    hostname "$name"
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    mount -t tmpfs -o mode=0755 tmpfs /run
    mount --bind "$lab/etc/hosts" /etc/hosts
    ! slurm_wanted || mount --bind "$lab/etc" /etc/slurm
    # The host's own /tmp must not hide the lab, which may lie below.
    mount -t tmpfs -o "mode=1777,size=$node_size" dye-lab-node "$tmp"
    case $lab/ in /tmp/*)
        mkdir -p "$tmp${lab#/tmp}"
        mount --bind "$lab" "$tmp${lab#/tmp}"
        mount --bind "$shared" "$tmp${shared#/tmp}"
        ;;
    esac
    mount --move "$tmp" /tmp
    ip link set lo up
    : >/run/ready
    while :; do
        sleep 3600 &
        wait
    done
}

boot() {
    local name=$1 pid switch
    spawn "$name" -muinp host "$name"
    pid=$(host_pid "$name")
    wait_until 10 "host $name (see $lab/log/$name.log)" test -e "/proc/$pid/root/run/ready"
    switch=$(host_pid switch)
    # A host's end of a cable dies with it, and the other one with that, but not at once.
    wait_until 10 "the old cable of $name to vanish" \
        bash -c "! nsenter -n -t $switch ip link show port-$name"
    # The same hardware address after a boot, or others would look for the old one for a while.
    nsenter -n -t "$switch" ip link add "port-$name" type veth peer name eth0 \
        address "$(printf '02:00:0a:4d:00:%02x' "$(address "$name" | cut -d. -f4)")" netns "$pid"
    nsenter -n -t "$switch" ip link set "port-$name" master bridge up
    nsenter -n -t "$pid" ip address add "$(address "$name")/24" dev eth0
    nsenter -n -t "$pid" ip link set eth0 up
    ! slurm_wanted || start_slurm "$name"
}

start_slurm() {
    local name=$1
    # munged refuses keys and sockets that others could replace: they lie in the host's own /run.
    enter "$name" bash -c '
        install -d -o munge -g munge /run/munge
        install -m 400 -o munge -g munge "$1/etc/munge.key" /run/munge/munge.key
        setpriv --reuid munge --regid munge --clear-groups munged --key-file=/run/munge/munge.key \
            --pid-file=/run/munge/munged.pid --log-file=/run/munge/munged.log \
            --seed-file=/run/munge/munged.seed
        mkdir -p /run/slurm/state
        if [ "$2" = ctl ]; then slurmctld; else slurmd -N "$2"; fi' - "$lab" "$name" \
        </dev/null >>"$lab/log/$name.log" 2>&1 ||
        fail "SLURM did not start on $name: $(tail -n 3 "$lab/log/$name.log")"
}

# enter HOST CMD...
enter() {
    local pid
    pid=$(host_pid "$1")
    shift
    # shellcheck disable=SC2016 # for the inner shell
    nsenter -t "$pid" -m -u -i -n -p -- env -u TMPDIR \
        bash -c 'cd "$0" && exec "$@"' "$shared" "$@"
}

# Runs on the machine what a host asks to be run on another one (rsh.sh, mpirun's ssh).
porter_main() {
    local call host
    while :; do
        # Opened for both, so that it never ends.
        while read -r call host; do
            (
                code=0
                enter "$host" bash "$call/command" <"$call/in" >"$call/out" 2>"$call/err" || code=$?
                echo $code >"$call/code.new"
                mv "$call/code.new" "$call/code"
            ) &
        done <>"$lab/calls/door"
    done
}

# ---- up and down --------------------------------------------------------------------------------

write_files() {
    local count=$1 slurm=$2 i
    mkdir -p "$lab"/{pid,log,etc,mnt,calls,bin}
    install -m 755 "${self%/*}/rsh.sh" "$lab/bin/rsh"
    mkfifo "$lab/calls/door"
    printf '127.0.0.1 localhost\n%s.254 ctl\n' $net >"$lab/etc/hosts"
    for ((i = 1; i <= count; ++i)); do echo "$net.$i n$i" >>"$lab/etc/hosts"; done
    for i in ctl $(seq -f n%g "$count"); do mkdir "$lab/mnt/$i"; done
    [ "$slurm" -eq 1 ] || return 0
    head -c 128 /dev/urandom >"$lab/etc/munge.key"
    chmod 600 "$lab/etc/munge.key"
    cat >"$lab/etc/slurm.conf" <<EOF
ClusterName=dye-lab
SlurmctldHost=ctl($net.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=pmix
ReturnToService=2
JobRequeue=1
SlurmdTimeout=15
KillWait=5
StateSaveLocation=/run/slurm/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd-%n.log
SlurmdParameters=config_overrides
NodeName=n[1-$count] CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1000
PartitionName=lab Nodes=ALL Default=YES MaxTime=00:10:00 State=UP
EOF
}

up() {
    local count=${1:-} slurm=0 owner taken i
    [[ $count =~ ^[1-9][0-9]?$ ]] || fail "up needs a number of hosts from 1 to 99"
    case ${2:-} in --slurm) slurm=1 ;; ?*) fail "up knows --slurm, not $2" ;; esac
    need $slurm
    # Our network is its own, but who reads this range in a log should know whose it is.
    taken=$(ip -4 -o address show | awk -v range="$net." 'index($4, range) == 1 { print $2; exit }')
    [ -z "$taken" ] || fail "$taken of this machine has an address in $net.0/24, the lab's range"
    owner=$(cat "$lab/owner" 2>/dev/null || true)
    if [ -n "$owner" ] && [ "$owner" != "${DYE_LAB_OWNER:-}" ] && [ -d "/proc/$owner" ]; then
        echo "lab.sh: the lab of process $owner is up; wait for its end, or: lab.sh down" >&2
        exit 69
    fi
    [ ! -e "$lab" ] || [ -e "$lab/.lab" ] || fail "$lab is there and is no lab: move it away"
    down
    mkdir -m 755 "$lab"
    : >"$lab/.lab"
    # Half a lab is none.
    trap 'down' EXIT
    [ -z "${DYE_LAB_OWNER:-}" ] || echo "$DYE_LAB_OWNER" >"$lab/owner"
    mkdir "$shared"
    mount -t tmpfs -o "mode=1777,size=$shared_size" dye-lab-shared "$shared"
    write_files "$count" $slurm
    spawn switch -mnp sleeper
    nsenter -n -t "$(host_pid switch)" ip link add bridge type bridge
    nsenter -n -t "$(host_pid switch)" ip link set bridge up
    spawn porter "" porter
    [ $slurm -eq 0 ] || boot ctl
    for ((i = 1; i <= count; ++i)); do boot "n$i"; done
    [ $slurm -eq 0 ] || wait_until 30 "SLURM's $count hosts to be idle (see $lab/log)" all_idle "$count"
    trap - EXIT
    echo "up: $(hosts | xargs) in $lab"
}

all_idle() {
    [ "$(enter ctl timeout 5 sinfo -h -N -o %T | sort | uniq -c | xargs)" = "$1 idle" ]
}

# Also what an earlier lab left behind, under whatever TMPDIR.
down() {
    local pid folder
    for pid in $(lab_processes); do kill -9 "$pid" 2>/dev/null || true; done
    wait_until 20 "the lab's processes to end: $(lab_processes | xargs)" nothing_runs
    for folder in $(awk '$1 == "dye-lab-shared" { print $2 }' /proc/mounts); do
        umount "$folder" 2>/dev/null || umount -l "$folder"
        [ ! -e "${folder%/*}/.lab" ] || rm -rf --one-file-system "${folder%/*}"
    done
    [ ! -e "$lab/.lab" ] || rm -rf --one-file-system "$lab"
}
nothing_runs() { [ -z "$(lab_processes)" ]; }

status() {
    local name pid link
    [ -e "$lab/.lab" ] || { echo "no lab is up" && return; }
    for name in $(hosts); do
        pid=$(cat "$lab/pid/$name")
        if [ ! -d "/proc/$pid" ]; then
            printf '%-4s %-12s down\n' "$name" "$(address "$name")"
            continue
        fi
        link=$(nsenter -n -t "$(host_pid switch)" ip -o link show "port-$name" | grep -o 'state [A-Z]*')
        printf '%-4s %-12s link %-5s %3d processes\n' "$name" "$(address "$name")" "${link#state }" \
            "$(pids_of "$name" | wc -l)"
    done
    df -h "$shared" | awk 'NR == 2 { print "shared " $3 " of " $2 " used" }'
}

hostfile() {
    local file name
    # shellcheck disable=SC2046 # names without blanks
    [ $# -gt 0 ] || set -- $(hosts | grep '^n')
    file=$lab/etc/hosts-$(tr ' ' - <<<"$*")
    for name; do echo "$name slots=4"; done >"$file"
    echo "--hostfile $file --mca plm_rsh_agent $lab/bin/rsh" \
        "--mca btl_tcp_if_include $net.0/24 --mca oob_tcp_if_include $net.0/24"
}

# ---- faults -------------------------------------------------------------------------------------

kill_host() {
    local pid
    pid=$(host_pid "$1")
    # The kernel ends a process namespace with its first process.
    kill -9 "$pid"
    wait_until 20 "the processes of $1 to end" test ! -d "/proc/$pid"
}

# signal SIGNAL HOST|PID
signal() {
    case $2 in
    [0-9]*) kill "-$1" "$2" ;;
    *)
        pids_of "$2" | while read -r pid; do
            kill "-$1" "$pid" 2>/dev/null || true
            # The nsenter that brought it in stops itself with it, and goes on by itself only if told.
            parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
            [ "$1" != CONT ] || [ "$(cat "/proc/${parent:-0}/comm" 2>/dev/null)" != nsenter ] ||
                kill -CONT "$parent" 2>/dev/null || true
        done
        ;;
    esac
}

cable() { nsenter -n -t "$(host_pid switch)" ip link set "port-$2" "$1"; }

# Where the lab may take all space: a host's /tmp, or the shared folder. Nothing else.
limited() {
    local path pid
    case $1 in
    n[0-9]*)
        pid=$(host_pid "$1")
        echo "/proc/$pid/root/tmp"
        ;;
    *)
        path=$(realpath -e "$1") || fail "no folder $1"
        [[ $path/ == "$shared"/* ]] || fail "$1 does not lie below $shared"
        echo "$path"
        ;;
    esac
}

fill() {
    local folder left=${2:-0}
    folder=$(limited "$1")
    dd if=/dev/zero of="$folder/.ballast" bs=64k 2>/dev/null || true
    [ "$left" -eq 0 ] || truncate -s "-${left}K" "$folder/.ballast"
}

case ${1:-} in
up | down | exec | kill | freeze | thaw | cut | join | fill | free | boot)
    [ "$(id -u)" -eq 0 ] || cannot "it needs root"
    ;;
esac
action=${1:-}
[ $# -eq 0 ] || shift
case $action:$# in
up:*) up "$@" ;;
down:0) down ;;
status:0) status ;;
exec:0 | exec:1) usage 2 ;;
exec:*) enter "$@" ;;
hostfile:*) hostfile "$@" ;;
where:0) echo "$lab" ;;
pids:1) pids_of "$1" ;;
kill:1) kill_host "$1" ;;
boot:1) boot "$1" ;;
freeze:1) signal STOP "$1" ;;
thaw:1) signal CONT "$1" ;;
cut:1) cable down "$1" ;;
join:1) cable up "$1" ;;
fill:1 | fill:2) fill "$@" ;;
free:1) rm -f "$(limited "$1")/.ballast" ;;
host:1) host_main "$1" ;;
porter:0) porter_main ;;
sleeper:0) while :; do sleep 3600; done ;;
help:* | -h:* | --help:*) usage 0 ;;
*) usage 2 ;;
esac
