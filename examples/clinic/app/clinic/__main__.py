import json
import os
import signal
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from clinic.database import Database
from clinic.model import BadInput, Model

MAX_BODY = 64 * 1024


class Handler(BaseHTTPRequestHandler):
    server_version = "clinic/1.0"
    sys_version = ""
    timeout = 30

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/health":
            self.reply(
                200, {"status": "ok", "model": self.server.model.name, "database": self.server.database.fingerprint()}
            )
        elif url.path == "/predict":
            self.predict(dict(parse_qsl(url.query)))
        else:
            self.reply(404, {"error": "not found"})

    def do_POST(self):
        if urlsplit(self.path).path != "/predict":
            return self.reply(404, {"error": "not found"})
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return self.reply(411, {"error": "length required"})
        if not 0 <= length <= MAX_BODY:
            return self.reply(413, {"error": "too large"})
        try:
            values = json.loads(self.rfile.read(length))
        except ValueError:
            return self.reply(400, {"error": "not JSON"})
        if not isinstance(values, dict):
            return self.reply(400, {"error": "not a JSON object"})
        self.predict(values)

    def predict(self, values):
        try:
            self.reply(200, self.server.model.predict(values))
        except BadInput as error:
            self.reply(422, {"error": str(error)})

    def reply(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        sys.stderr.write("clinic: %s %s\n" % (self.address_string(), format % args))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        sys.stderr.write("clinic: %s: %s\n" % (client_address[0], sys.exc_info()[1]))


def main():
    password = os.environ.get("DB_PASSWORD")
    if not password:
        return "clinic: DB_PASSWORD is not set"
    key, certificate = os.environ.get("TLS_KEY", "/etc/tls/tls.key"), os.environ.get("TLS_CERT", "/etc/tls/tls.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        return "clinic: no usable key and certificate in %s, %s: %s" % (key, certificate, error)

    server = Server((os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8443"))), Handler)
    server.model = Model(os.environ.get("MODEL", os.path.join(os.path.dirname(__file__), "model.json")))
    server.database = Database(password)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(
        "clinic: serving on port %d, database login %s" % (server.server_port, server.database.fingerprint()),
        flush=True,
    )
    with server:
        server.serve_forever(poll_interval=0.1)
    print("clinic: stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
