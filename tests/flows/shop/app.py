"""A service whose counters tell a steady story: 1,000 requests a second, of which a known share is bad."""

import http.server
import os
import pathlib
import time

HERE = pathlib.Path(__file__).parent
STARTED = time.time()
VERSION, BAD, READY = (HERE / "version.txt").read_text().split()


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/metrics":
            total = 1000 * (time.time() - STARTED)
            body = f'shop_requests_total{{code="200"}} {total * (1 - float(BAD))}\n'
            body += f'shop_requests_total{{code="500"}} {total * float(BAD)}\n'
            self.answer(200, body)
        elif self.path == "/healthz":
            self.answer(200 if READY == "ready" else 503, VERSION)
        else:
            self.answer(200, VERSION)

    def answer(self, code, text):
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))
http.server.ThreadingHTTPServer((host, port), Shop).serve_forever()
