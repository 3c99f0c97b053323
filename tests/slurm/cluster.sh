#!/usr/bin/env bash
# A SLURM of two nodes, for tests: controller, compute nodes and munge run as root in namespaces of their own, so that
# they touch no other SLURM of the machine, its network and its /etc/slurm, and all end with the first process.
#
#   cluster.sh start STATE    start it; STATE is an empty folder for config, logs and spool, and says where it is
#   cluster.sh run STATE COMMAND...    run a command inside: sbatch, squeue, snakemake
#   cluster.sh seconds STATE  CPU seconds of all that has ended inside
#   cluster.sh stop STATE     end everything that was started inside
#
# Debian's packages: munge slurmctld slurmd slurm-client iproute2, no recommends. No cgroups: CPUs are not enforced, memory
# is by polling. No database: Debian's sacct says nothing, and the file `sacct` beside this one speaks for it. Both nodes
# are this machine, and claim more than it has.
set -euo pipefail
here=$(realpath "${BASH_SOURCE[0]}")
state=$(realpath -m "$2")
export SLURM_CONF=$state/slurm.conf

configure() {
    local host
    host=$(hostname -s)
    mkdir -p "$state"/{etc,ctld,dev}
    # a card is given, and its number told to the job, for any device; without files SLURM 22.05 finds no cards
    ln -s /dev/null "$state/dev/gpu0"
    ln -s /dev/zero "$state/dev/gpu1"
    (umask 077 && head -c 128 /dev/urandom >"$state/munge.key")
    cat >"$state/etc/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
AuthInfo=socket=$state/munge.socket
SlurmUser=root
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.%n.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.%n.log
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/slurmd.%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
KillWait=2
MinJobAge=300
ReturnToService=0
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
GresTypes=gpu
NodeName=node[0-1] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=4 RealMemory=64000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00
PartitionName=gpu Nodes=ALL MaxTime=06:00:00
CONF
    echo "Name=gpu File=$state/dev/gpu[0-1]" >"$state/etc/gres.conf"
}

# SLURM wants an address that is no loopback's; Snakemake's job steps find the config in /etc/slurm alone
serve() {
    ip link set lo up
    ip address add 10.255.255.1/32 dev lo
    mkdir -p /etc/slurm
    mount --bind "$state/etc" /etc/slurm
    export SLURM_CONF=/etc/slurm/slurm.conf
    munged --force --key-file="$state/munge.key" --socket="$state/munge.socket" --pid-file="$state/munged.pid" \
        --log-file="$state/munged.log" --seed-file="$state/munged.seed"
    slurmctld
    slurmd -N node0
    slurmd -N node1
    until [[ $(sinfo --noheader --format=%t --partition=main) == idle ]]; do sleep 0.1; done
    touch "$state/up"
    while true; do sleep infinity & wait; done # the first process adopts and buries what the daemons leave
}

first() { pgrep --parent "$(<"$state/pid")"; }

case $1 in
start)
    configure
    setsid unshare --mount --net --pid --fork --kill-child --mount-proc "$here" serve "$state" \
        </dev/null >"$state/serve.log" 2>&1 &
    echo $! >"$state/pid"
    for _ in $(seq 300); do
        [[ -e $state/up ]] && exit 0
        [[ -d /proc/$! ]] || break
        sleep 0.1
    done
    cat "$state/serve.log" >&2
    tail -n 5 "$state"/*.log >&2
    "$here" stop "$state"
    exit 1
    ;;
serve) serve ;;
seconds) awk -v tick="$(getconf CLK_TCK)" '{ print ($16 + $17) / tick }' "/proc/$(first)/stat" ;;
run)
    shift 2
    exec nsenter --target "$(first)" --mount --net --pid --wd="$PWD" env SLURM_CONF=/etc/slurm/slurm.conf "$@"
    ;;
stop)
    pid=$(<"$state/pid")
    [[ ! -d /proc/$pid ]] || kill -KILL "$pid"
    ;;
esac
