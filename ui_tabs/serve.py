"""Serving the page: who may enter, on which port, and what the terminal says. Gradio is imported late."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
import sys
from argparse import Namespace
from typing import Any


def visitors(flags: Namespace) -> tuple[str, str] | None:
    """Name and password visitors have to give; one is made when the page is open to others and none was set."""
    if flags.auth:
        name, _, password = flags.auth.partition(":")
        return name, password
    if not flags.share and is_loopback(flags.host):
        return None
    password = secrets.token_urlsafe(12)
    say("The page can be reached from other computers and --auth was not given, so visitors are asked for:")
    say(f"  name lookalike, password {password}")
    return "lookalike", password


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach a host's address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def why_not_listen(host: str, port: int) -> str:
    """Why the page cannot listen on this address, with what to do about it; "" when it can."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            if os.name == "posix":  # elsewhere this would share the port with the program that has it
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror:
        return f"The address '{host}' is not known. Name one of this computer with --host, for example 127.0.0.1."
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {port} is in use. Stop the program that uses it, or choose another port with --port."
        if error.errno == errno.EADDRNOTAVAIL:
            return f"'{host}' is not an address of this computer. Name another one with --host."
        return f"The page cannot listen on {host}, port {port}: {error.strerror}. Choose another with --port or --host."
    return ""


def serve(page: Any, flags: Namespace) -> None:
    """Serve the page (gr.Blocks) until interrupted, as the flags of the command line say."""
    from ui_tabs.theme import launch_looks

    page.launch(
        server_name=flags.host,
        server_port=flags.port,
        share=flags.share,
        inbrowser=not flags.no_browser,
        auth=visitors(flags),
        root_path=flags.root_path or None,
        allowed_paths=[str(flags.workspace.resolve())],
        show_error=True,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
        **launch_looks(),
    )
    say(f"Lookalike is at {page.local_url}")
    if flags.share and page.share_url:
        say(f"Public address: {page.share_url}")
    elif flags.share:
        say("A public address could not be created; the page goes on locally. From another computer use a tunnel:")
        say(f"  ssh -L {flags.port}:127.0.0.1:{flags.port} user@server")
    page.block_thread()


def say(text: str) -> None:
    """One message for the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
