"""Stands in for `ray_serve/program.py`: the stand-in of vLLM, which also says its address and wants no key."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import standin_vllm


class Handler(standin_vllm.Handler):
    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        if self.path == "/endpoint":
            self.reply(200, {"base_url": f"http://127.0.0.1:{self.server.server_port}/v1"})
        else:
            super().do_GET()

    def do_POST(self) -> None:  # noqa: N802 - named by http.server
        self.headers["Authorization"] = "Bearer -"
        super().do_POST()


options = json.loads(sys.argv[1])
os.environ["VLLM_API_KEY"] = "-"
standin_vllm.Handler = Handler
sys.argv[1:] = ["serve", options["model"], "--port", str(options["port"]), *options["arguments"]]
standin_vllm.main()
