#!/usr/bin/env bash
# The lab itself: hosts are apart, each fault does what it says and is mended, down leaves nothing.
# shellcheck source-path=SCRIPTDIR source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

lab_up 3

for i in 1 2 3; do
    on n$i 0 hostname
    same "$(cat "$log")" n$i "hostname"
    on n$i 0 ip -4 -o address show eth0
    said "10\.77\.0\.$i/24" "address of n$i"
    on n$i 0 bash -c "echo n$i >/tmp/mine; echo n$i >/dev/shm/mine"
done
for i in 1 2 3; do
    on n$i 0 cat /tmp/mine /dev/shm/mine
    same "$(xargs <"$log")" "n$i n$i" "own /tmp and /dev/shm"
    on n$i 0 ping -q -c 1 -W 2 n$((i % 3 + 1))
done
on n2 3 sh -c 'exit 3'
on n1 0 sh -c 'echo shared >from-n1'
on n3 0 cat from-n1
checked "three hosts: name, address, /tmp, /dev/shm; they see each other and one folder"

lab cut n2
on n1 fail ping -q -c 1 -W 1 n2
on n1 0 ping -q -c 1 -W 2 n3
lab join n2
on n1 0 ping -q -c 1 -W 2 n2
checked "cut and join"

lab freeze n2
states=$(for pid in $(lab pids n2); do sed 's/.*) \(.\).*/\1/' "/proc/$pid/stat"; done | sort -u)
same "$states" T "states of a frozen host's processes"
lab thaw n2
begin n1 sleep 100
sleeper=$(wait_for 5 pgrep -f '^sleep 100$' && pgrep -f '^sleep 100$' | tail -n 1)
lab freeze "$sleeper"
same "$(sed 's/.*) \(.\).*/\1/' "/proc/$sleeper/stat")" T "state of a frozen process"
lab thaw "$sleeper"
[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$sleeper/stat")" != T ] || die "still frozen"
checked "freeze and thaw, a host and a process"

pids=$(lab pids n1)
lab kill n1
for pid in $pids; do ! is_running "$pid" || die "process $pid outlived its host"; done
ended 5
[ $code -ne 0 ] || die "a command of the dead host ended well"
[ -z "$(lab exec n1 true 2>/dev/null && echo ran)" ] || die "a dead host runs commands"
lab boot n1
on n2 0 ping -q -c 1 -W 2 n1
on n1 fail test -e /tmp/mine
checked "kill ends all processes of a host; boot brings it back, empty"

lab fill "$shared"
on n3 fail cp dye copy
said "No space left" "a full shared folder"
lab free "$shared"
on n3 0 cp dye copy
lab fill n3
on n3 fail cp dye /tmp/copy
said "No space left" "a full /tmp"
on n2 0 cp dye /tmp/copy
lab free n3
on n3 0 cp dye /tmp/copy
! lab fill /usr >"$log" 2>&1 || die "fill took a folder that is not the lab's"
said "does not lie below" "a folder that is not the lab's"
checked "fill gives ENOSPC there only, free mends it"

pids=$(for i in 1 2 3; do lab pids n$i; done)
DYE_LAB_OWNER=1 lab up 1 >"$log" 2>&1 && die "a second lab came up over a running test's"
said "the lab of process $$ is up" "a second lab is refused"
lab down
for pid in $pids; do ! is_running "$pid" || die "process $pid outlived the lab"; done
! pgrep -f "$lab_script (host|porter|sleeper)" || die "processes are left"
[ ! -e "$lab_folder" ] || die "$lab_folder is left"
! grep -E "$lab_folder|dye-lab-(shared|node)" /proc/mounts || die "mounts are left"
! ip -4 -o address show | grep -F ' 10.77.0.' || die "an address is left"
checked "down leaves no process, namespace, mount, link or file"

# A test that is killed leaves its lab; the next one sweeps it.
(
    DYE_LAB_OWNER=$BASHPID bash "$lab_script" up 2 >/dev/null 2>&1
)
[ -e "$lab_folder" ] || die "no lab to be left behind"
lab up 1 >"$log" 2>&1 || die "a lab left behind is in the way"
same "$(lab status | grep -c '^n')" 1 "hosts after the sweep"
lab down
[ ! -e "$lab_folder" ] || die "$lab_folder is left"
checked "a lab left behind is swept"
