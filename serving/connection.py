"""How the client reaches its servers: addresses, retries, TLS."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from serving.errors import RequestError

SERVICE = "tensorflow.serving.PredictionService"
#: Bytes of one answer; gRPC's own limit is 4 MiB.
_MAX_RESPONSE = 64 * 2**20
#: gRPC retries, within the call's deadline, what surely did not run: the server was not there, or its queue was full.
#: Where most calls fail it stops retrying, so that a server in trouble is not given more to do.
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}


@dataclass(frozen=True)
class Tls:
    """TLS to the servers; PEM bytes.

    Attributes:
        root_certificates: of who signed the servers' certificates; None: the system's.
        private_key: of this client, for servers that want to know it (mutual TLS).
        certificate_chain: that goes with it.
        server_name: the name in the servers' certificates, where it is not the address that is called.

    Raises:
        RequestError: a key without its chain, or one that is no bytes.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses what ends the process, or says nothing, when a channel is made of it."""
        if (self.private_key is None) != (self.certificate_chain is None):
            raise RequestError("Tls: give private_key and certificate_chain together")
        for name in ("root_certificates", "private_key", "certificate_chain"):
            if not isinstance(getattr(self, name), bytes | None):
                raise RequestError(f"Tls: {name} must be the file's bytes: Path(...).read_bytes()")

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


@dataclass(frozen=True)
class Connection:
    """One or several servers of one model, taken in turn; a server that is away is left out until it is back.

    Attributes:
        servers: `host:port`, or a gRPC name such as `dns:///host:port`, whose addresses are taken in turn; or
            several `host:port`, whose names are looked up once.
        tls: None sends in the clear.

    Raises:
        RequestError: no server, or a name that cannot be looked up.
    """

    servers: str | Sequence[str]
    tls: Tls | None = None

    @property
    def target(self) -> str:
        """As gRPC writes it."""
        if isinstance(self.servers, str):
            return self.servers
        if not self.servers:
            raise RequestError("no server: give `host:port`")
        if len(self.servers) == 1:
            return self.servers[0]
        addresses = [_address(server) for server in self.servers]
        families = {":" in host for host, _ in addresses}
        if len(families) > 1:
            raise RequestError(f"servers {', '.join(self.servers)}: either all IPv4 or all IPv6")
        six = families.pop()
        return f"ipv{6 if six else 4}:" + ",".join(
            f"[{host}]:{port}" if six else f"{host}:{port}" for host, port in addresses
        )

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Of the channel."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", _MAX_RESPONSE),
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ]
        if self.tls and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise RequestError(f"server `{server}`: cannot be looked up ({error}); give `host:port`") from None
    address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0][4]
    return str(address[0]), int(address[1])
