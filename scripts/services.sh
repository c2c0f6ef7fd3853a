#!/usr/bin/env bash
# Runs a command beside an S3 server (moto), an Azure Blob server (Azurite) and an S3 server that
# breaks put-if-absent (s3rver): scripts/services.sh cargo test -p msglog-object-store --all-features
#
# Installs them into MSGLOG_SERVICES_DIR (target/services), starts them on free ports of 127.0.0.1,
# makes a bucket and a container, says where they are in the environment, and stops what it started.
# A URL that is set already is left as it is, and its server is not started.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tools=${MSGLOG_SERVICES_DIR:-$root/target/services}
mkdir -p "$tools"
work=$(mktemp -d)
pids=()

stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  # Azurite waits for open connections, which may be for ever.
  for _ in $(seq 30); do
    alive=0
    for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && alive=1; done
    [ "$alive" = 1 ] || break
    sleep 0.1
  done
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits until something listens on a port, or its process is gone.
listening() {
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    if ! kill -0 "$2" 2>/dev/null; then break; fi
    sleep 0.1
  done
  echo "services.sh: nothing listens on port $1" >&2
  tail -n 20 "$work"/*.log >&2
  exit 1
}

npm_tool() { # package version command
  if [ ! -x "$tools/node_modules/.bin/$3" ]; then
    npm install --silent --no-audit --no-fund --prefix "$tools" "$1@$2" >&2
  fi
}

if [ -z "${MSGLOG_TEST_S3_URL:-}" ]; then
  if [ ! -x "$tools/venv/bin/moto_server" ]; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet 'moto[server,s3]==5.2.5'
  fi
  port=$(free_port)
  # One request at a time: moto itself checks and then writes, and under load lets two of 16 racers
  # create the same object about once in 600 races, which the store's probe notices.
  "$tools/venv/bin/python" - "$port" >"$work/moto.log" 2>&1 <<'PY' &
import sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

def one_at_a_time(environ, start_response):
    with lock:
        answer = app(environ, start_response)
        try:
            return [b"".join(answer)]
        finally:
            if hasattr(answer, "close"):
                answer.close()

run_simple("127.0.0.1", int(sys.argv[1]), one_at_a_time, threaded=True)
PY
  pids+=($!)
  listening "$port" "$!"
  python3 - "$port" <<'PY'
import sys, urllib.request
url = f"http://127.0.0.1:{sys.argv[1]}/msglog"
urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30).read()
PY
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export MSGLOG_TEST_S3_URL="s3://msglog/tests?endpoint=http://127.0.0.1:$port&allow_http=true&region=us-east-1"
fi

if [ -z "${MSGLOG_TEST_AZURE_URL:-}" ]; then
  npm_tool azurite 3.37.0 azurite-blob
  port=$(free_port)
  # Its clean-up every ten minutes sorts all that it holds once for each blob that is gone, and answers
  # nobody for minutes: it is put off beyond every run.
  echo "require('$tools/node_modules/azurite/dist/src/blob/utils/constants').DEFAULT_GC_INTERVAL_MS = 2 ** 31 - 1;" \
    >"$work/no-clean-up.js"
  NODE_OPTIONS="--require $work/no-clean-up.js" "$tools/node_modules/.bin/azurite-blob" --silent --blobHost 127.0.0.1 --blobPort "$port" \
    --inMemoryPersistence --loose --skipApiVersionCheck --disableTelemetry \
    >"$work/azurite.log" 2>&1 &
  pids+=($!)
  listening "$port" "$!"
  python3 - "$port" <<'PY'
# Makes the container: one PUT signed with the emulator's public account key.
import base64, email.utils, hashlib, hmac, sys, urllib.request
account, container = "devstoreaccount1", "msglog"
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
date = email.utils.formatdate(usegmt=True)
headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0"}
canonical = "".join(f"{name}:{headers[name]}\n" for name in ("x-ms-date", "x-ms-version"))
resource = f"/{account}/{account}/{container}\nrestype:container"
text = "PUT" + "\n" * 12 + canonical + resource
digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
url = f"http://127.0.0.1:{sys.argv[1]}/{account}/{container}?restype=container"
urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="PUT"), timeout=30).read()
PY
  export AZURITE_BLOB_STORAGE_URL="http://127.0.0.1:$port"
  export MSGLOG_TEST_AZURE_URL="az://msglog/tests?use_emulator=true&allow_http=true"
fi

if [ -z "${MSGLOG_TEST_S3_OVERWRITING_URL:-}" ]; then
  npm_tool s3rver 3.7.1 s3rver
  port=$(free_port)
  "$tools/node_modules/.bin/s3rver" -a 127.0.0.1 -p "$port" -d "$work/s3rver" --configure-bucket msglog \
    >"$work/s3rver.log" 2>&1 &
  pids+=($!)
  listening "$port" "$!"
  export MSGLOG_TEST_S3_OVERWRITING_URL="s3://msglog/tests?endpoint=http://127.0.0.1:$port&allow_http=true&region=us-east-1&access_key_id=S3RVER&secret_access_key=S3RVER"
fi

# What is started here must be there: a test that misses it is red.
export MSGLOG_TEST_REQUIRE=1
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
"$@"
