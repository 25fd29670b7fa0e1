#!/usr/bin/env bash
# Two websocket nodes behind a balancer, all on this machine, under load: restarted one after the other, one of them
# killed, or with devices that do not read. Run it with servers that `servers` starts, after building the programs:
#
#     cargo build --release --workspace --bins
#     target/release/servers run -- deploy/load/two-nodes.sh haproxy|nginx restart|crash|slow [OPTION OF klatsch-load ...]
#
# PROGRAMS says where the programs are, if not in target/release. Logs, accounts and the report are in a folder that is
# named at the end. The exit code is that of klatsch-load.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Of a node that is told to stop, in seconds; its devices have five seconds more to be back.
window=8

main() {
    case ${1:-}/${2:-} in
    haproxy/restart | haproxy/crash | haproxy/slow | nginx/restart | nginx/crash | nginx/slow) ;;
    *) usage ;;
    esac
    [[ -n ${KLATSCH_TEST_KAFKA:-} && -n ${KLATSCH_TEST_CQL:-} && -n ${KLATSCH_TEST_REGISTRY:-} ]] || usage
    local balancer=$1 scenario=$2
    shift 2
    programs=$(realpath "${PROGRAMS:-target/release}")
    folder=$(mktemp -d --tmpdir klatsch-two-nodes-XXXXXX)
    trap end EXIT
    ulimit -n "$(ulimit -Hn)"
    export KLATSCH_KAFKA=$KLATSCH_TEST_KAFKA KLATSCH_CQL=$KLATSCH_TEST_CQL KLATSCH_REGISTRY=$KLATSCH_TEST_REGISTRY
    export KLATSCH_DEV=true KLATSCH_KEYSPACE=two_nodes_$$
    # Half of the default: services, servers and devices share this machine. An orderly restart spreads devices by itself.
    [[ $scenario != crash ]] || export KLATSCH_WELCOMES_PER_SECOND=250
    "$programs/klatschctl" topics apply --yes >"$folder/topics.log"
    "$programs/klatschctl" schemas register >"$folder/schemas.log"
    "$programs/klatschctl" migrate >"$folder/migrate.log"
    start users user-service --trusted-proxies 1
    ready 9081
    start chat chat-service --trusted-proxies 1
    # Its own port is the second node's.
    start storage storage-consumer --listen 127.0.0.1:8086
    start fanout fanout-consumer
    node 1
    node 2
    balance "$balancer"
    ready 9082 9083 9084
    until curl -sf http://127.0.0.1:8080/.well-known/jwks.json >"$folder/jwks.json"; do sleep 0.1; done
    "$scenario" "$@"
}

usage() {
    sed -n '/^#  /s/^# *//p' deploy/load/two-nodes.sh >&2
    exit 64
}

# Both nodes in turn. A node closes its sockets evenly over its window: 1.5 times that is allowed in any one second. No
# latency is judged, so the tool may be late.
restart() {
    local devices=${DEVICES:-3000}
    restart_nodes "$devices" >"$folder/restart.log" 2>&1 &
    load steady --devices "$devices" --rate 500 --seconds 120 --ack-p99-ms 0 --shown-p99-ms 0 \
        --tool-p99-ms 1000 --connects-per-second $((devices * 3 / 2 / window)) --back-within $((window + 5)) "$@"
}

# restart_nodes DEVICES: once so many are there.
restart_nodes() {
    local node
    until (($(sockets_open) >= $1)); do sleep 1; done
    sleep 20
    for node in 1 2; do
        echo "$(date +%T) node $node stops"
        stop "node$node"
        echo "$(date +%T) node $node has stopped"
        node "$node"
        ready "908$((node + 2))"
        echo "$(date +%T) node $node is ready"
        sleep 10
    done
}

sockets_open() {
    curl -sf http://127.0.0.1:9083/metrics http://127.0.0.1:9084/metrics | awk '/^klatsch_sockets_open / { n += $2 } END { print n + 0 }'
}

# One of them, killed. The other one has all devices then.
crash() {
    load storm --devices "${DEVICES:-9000}" --devices-per-user 3 --rate 200 --seconds 90 --ack-p99-ms 0 --shown-p99-ms 0 \
        --command "kill -9 $(cat "$folder/node1.pid")" "$@"
}

slow() {
    load slow --devices "${DEVICES:-1000}" --rate 100 --seconds 120 --ack-p99-ms 0 --shown-p99-ms 0 "$@"
}

load() {
    "$programs/klatsch-load" run "$@" --url http://127.0.0.1:8080 --accounts "$folder/accounts.json" \
        --json "$folder/report.json"
}

# start NAME PROGRAM OPTION...: in the background; PROGRAM is ours or a balancer.
start() {
    local name=$1 program=$2
    shift 2
    PATH=$programs:$PATH:/usr/sbin "$program" "$@" >>"$folder/$name.log" 2>&1 &
    echo $! >"$folder/$name.pid"
}

# stop NAME: in order. Not by `wait`: a node that was restarted is no child of this shell.
stop() {
    local pid
    pid=$(cat "$folder/$1.pid")
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

node() {
    start "node$1" websocket-service --listen "127.0.0.1:808$(($1 + 2))" --trusted-proxies 1 --routed-by-partition \
        --drain-window "$window"
}

# ready PORT...: waits until the programs with these ports for operators are ready.
ready() {
    local port
    for port in "$@"; do
        until curl -sf "http://127.0.0.1:$port/readyz" >/dev/null; do sleep 0.1; done
    done
}

balance() {
    local own="access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;"
    own+=" uwsgi_temp_path uwsgi; scgi_temp_path scgi;"
    case $1 in
    haproxy) start balancer haproxy -db -f deploy/balance/haproxy.cfg ;;
    nginx)
        # What it writes goes to our folder, not to the system's.
        sed "s|^http {|http { $own|" deploy/balance/nginx.conf >"$folder/nginx.conf"
        start balancer nginx -p "$folder" -e stderr -c "$folder/nginx.conf" \
            -g "daemon off; pid nginx.pid;"
        ;;
    esac
}

# As an operator would: first those that devices connect to.
end() {
    local code=$?
    trap - EXIT
    for name in balancer node1 node2 fanout storage chat users; do
        [[ ! -e $folder/$name.pid ]] || stop "$name"
    done
    echo "logs and report: $folder"
    exit "$code"
}

main "$@"
