"""The certificates of one control plane: made when it starts, thrown away when it stops.

A client certificate's common name is the user, its organisations are the groups.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=30)
SLACK = timedelta(hours=1)
"""Valid from a little earlier, for clocks that are behind."""
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
SERVER_ADDRESSES = ("127.0.0.1", "10.0.0.1")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs what the control plane and its users need; everything is written to `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("tidegate-controlplane", ())
        own = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = self._sign(self._name, self._key, [(own, True)])
        self.certificate = self._write("ca.crt", self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str) -> Pair:
        """For a server on loopback, under every name the API server is called by."""
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        extensions = [(use, False), (x509.SubjectAlternativeName(names), False)]
        return self._issue(f"{name}-serving", (), extensions)

    def user(self, name: str, *groups: str) -> Pair:
        """For a user in these groups."""
        return self._issue(name, groups, [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)])

    def tokens(self) -> Pair:
        """The key pair that service account tokens are signed and checked with; no certificate in it."""
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public = key.public_key().public_bytes(serialization.Encoding.PEM, form)
        return Pair(self._write("tokens.pub", public), self._write("tokens.key", _pem(key)))

    def _issue(
        self, name: str, groups: Sequence[str], extensions: Sequence[tuple[x509.ExtensionType, bool]]
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(name, groups), key, extensions)
        stem = name.replace(":", "-")
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Pair(self._write(f"{stem}.crt", pem), self._write(f"{stem}.key", _pem(key)))

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - SLACK,
            not_valid_after=now + LIFETIME,
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path


def _name(common: str, groups: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
