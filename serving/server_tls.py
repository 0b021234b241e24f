"""TLS of the embedded server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from pipeline.errors import InputError


@dataclass(frozen=True)
class ServerTls:
    """PEM files, for gRPC and REST.

    Attributes:
        certificate: the server's, with those between it and the root.
        key: that goes with it.
        client_ca: who signed the clients' certificates: only clients with one get an answer (mutual TLS).
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For REST.

        Raises:
            InputError: a file is not there, or is none.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            pair = f"{self.certificate} and {self.key}"
            raise InputError(f"TLS: {pair} are no certificate and its key: {error}") from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise InputError(f"TLS: {self.client_ca} has no certificates: {error}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC.

        Raises:
            InputError: as of `context`.
        """
        self.context()  # gRPC says of a wrong file only that the port cannot be opened
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=self.client_ca.read_bytes() if self.client_ca else None,
            require_client_auth=self.client_ca is not None,
        )
