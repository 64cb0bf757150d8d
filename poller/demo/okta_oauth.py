"""The OAuth side of a simulated Okta: an API service app that gets access tokens with a private-key JWT, bound to a
key of the client (DPoP) where the app demands it.

Sources: RFC 7523 (the client assertion), RFC 9449 (DPoP),
https://developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

LOGS_SCOPE = "okta.logs.read"
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_ASSERTION_LIFE = 3600  # seconds that an assertion may be valid for
PROOF_AGE = 300  # seconds that a proof may be old, or ahead

Reply = tuple[int, dict[str, Any], dict[str, str]]
"""Status, body and headers."""


def key_pair() -> tuple[str, str]:
    """A new RSA key in PEM: private, public."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@dataclass(frozen=True)
class _AccessToken:
    expires: float
    scopes: frozenset[str]
    key: str | None  # thumbprint of the key it is bound to


class _Refused(Exception):
    def __init__(self, status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(description)
        self.reply: Reply = (status, {"error": error, "error_description": description}, dict(headers or {}))


class OAuthApp:
    """One API service app.

    Args:
        public_key: PEM, or a JWK as JSON.
        key_id: the `kid` that an assertion must name, if any.
        scopes: what the app was granted.
        require_dpop: refuse a token request without a proof.
        nonce_on_api: demand a nonce in the proofs of API requests too.
        lifetime: seconds that an access token is valid for.
        grants_all: give every token all that the app was granted, whatever scope was asked for.
    """

    def __init__(
        self,
        client_id: str,
        public_key: str,
        *,
        key_id: str | None = None,
        scopes: frozenset[str] = frozenset({LOGS_SCOPE}),
        require_dpop: bool = False,
        nonce_on_api: bool = False,
        lifetime: int = 3600,
        grants_all: bool = False,
    ) -> None:
        self.client_id, self.key_id, self.scopes = client_id, key_id, scopes
        self.require_dpop, self.nonce_on_api, self.lifetime = require_dpop, nonce_on_api, lifetime
        self.grants_all = grants_all
        self._key = jwt.PyJWK.from_json(public_key).key if public_key.lstrip().startswith("{") else public_key
        self._lock = threading.Lock()
        self._used: set[str] = set()  # `jti` of assertions and proofs
        self._tokens: dict[str, _AccessToken] = {}
        self._nonce = secrets.token_urlsafe(16)

    def revoke(self) -> None:
        """Make every access token issued so far invalid."""
        with self._lock:
            self._tokens.clear()

    def renew_nonce(self) -> None:
        """Make the nonce handed out so far invalid."""
        self._nonce = secrets.token_urlsafe(16)

    def issue(self, form: Mapping[str, str], proof: str | None, url: str, now: float) -> Reply:
        """The answer of the token endpoint at `url`."""
        try:
            return 200, self._issue(form, proof, url, now), {}
        except _Refused as refused:
            return refused.reply

    def refusal(self, scheme: str, token: str, proof: str | None, method: str, url: str, now: float) -> Reply | None:
        """Why an API request with this access token may not read the log; None if it may."""
        try:
            self._permit(scheme, token, proof, method, url, now)
        except _Refused as refused:
            status, body, headers = refused.reply
            # The API speaks Okta's own form of error; what RFC 9449 asks for stands beside it.
            code = "E0000006" if status == 403 else "E0000011"
            okta = {"errorCode": code, "errorSummary": body["error_description"], "errorLink": code, "errorId": "oae0"}
            return status, {**body, **okta, "errorCauses": []}, headers
        return None

    def _issue(self, form: Mapping[str, str], proof: str | None, url: str, now: float) -> dict[str, Any]:
        if form.get("grant_type") != "client_credentials":
            raise _Refused(400, "unsupported_grant_type", "The authorization grant type is not supported.")
        self._check_assertion(form, url, now)
        scopes = frozenset(form.get("scope", "").split())
        if not scopes or not scopes <= self.scopes:
            raise _Refused(400, "invalid_scope", "The client was not granted one or more of the scopes.")
        if self.grants_all:
            scopes = self.scopes
        if proof is None and self.require_dpop:
            raise _Refused(400, "invalid_dpop_proof", "The DPoP proof JWT header is missing.")
        key = None if proof is None else self._check_proof(proof, "POST", url, now, nonce_status=400)
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = _AccessToken(now + self.lifetime, scopes, key)
        return {
            "token_type": "Bearer" if key is None else "DPoP",
            "expires_in": self.lifetime,
            "access_token": token,
            "scope": " ".join(sorted(scopes)),
        }

    def _permit(self, scheme: str, token: str, proof: str | None, method: str, url: str, now: float) -> None:
        with self._lock:
            known = self._tokens.get(token)
        if known is None or now >= known.expires:
            raise _Refused(401, "invalid_token", "Invalid token provided", _challenge("invalid_token"))
        if (scheme == "DPoP") != (known.key is not None):
            summary = "The token was not issued for this scheme."
            raise _Refused(401, "invalid_token", summary, _challenge("invalid_token"))
        if known.key is not None:
            if proof is None:
                raise _Refused(400, "invalid_dpop_proof", "The DPoP proof JWT header is missing.")
            nonce_status = 401 if self.nonce_on_api else None
            if self._check_proof(proof, method, url, now, nonce_status, token) != known.key:
                raise _Refused(400, "invalid_dpop_proof", "The proof is not of the key that the token is bound to.")
        if LOGS_SCOPE not in known.scopes:
            summary = "You do not have permission to perform the requested action"
            raise _Refused(403, "insufficient_scope", summary, _challenge("insufficient_scope"))

    def _check_assertion(self, form: Mapping[str, str], url: str, now: float) -> None:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _Refused(401, "invalid_client", "The client_assertion_type is not that of a JWT.")
        assertion = form.get("client_assertion", "")
        try:
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(
                assertion,
                self._key,
                algorithms=ALGORITHMS,
                audience=url,
                issuer=self.client_id,
                subject=self.client_id,
                options={"require": ["aud", "iss", "sub", "exp", "jti"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise _Refused(401, "invalid_client", f"The client_assertion was refused: {error}") from None
        if self.key_id is not None and header.get("kid") != self.key_id:
            raise _Refused(401, "invalid_client", "The client_assertion names no key of this client.")
        self._check_lifetime(claims, now)
        self._use_once(str(claims["jti"]), _Refused(401, "invalid_client", "The client_assertion was already used."))

    def _check_lifetime(self, claims: Mapping[str, Any], now: float) -> None:
        expires = claims["exp"]
        if not isinstance(expires, (int, float)) or expires <= now:
            raise _Refused(401, "invalid_client", "The client_assertion token is expired.")
        if expires > now + MAX_ASSERTION_LIFE + PROOF_AGE:
            raise _Refused(401, "invalid_client", "The client_assertion token expires too far in the future.")

    def _check_proof(
        self, proof: str, method: str, url: str, now: float, nonce_status: int | None, token: str | None = None
    ) -> str:
        """The thumbprint of the key that signed the proof. `nonce_status`: what a missing nonce is answered with."""
        try:
            header = jwt.get_unverified_header(proof)
            public = {name: header["jwk"][name] for name in ("kty", "n", "e", "crv", "x", "y") if name in header["jwk"]}
            if header.get("typ") != "dpop+jwt" or len(public) != len(header["jwk"]):
                raise _Refused(
                    400, "invalid_dpop_proof", "The header must be of type dpop+jwt, with a public key alone."
                )
            claims = jwt.decode(
                proof,
                jwt.PyJWK.from_dict(public, header["alg"]).key,
                algorithms=ALGORITHMS,
                options={"require": ["htm", "htu", "iat", "jti"], "verify_iat": False, "verify_exp": False},
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise _Refused(400, "invalid_dpop_proof", f"The DPoP proof JWT was refused: {error}") from None
        if header.get("typ") != "dpop+jwt" or len(public) != len(header["jwk"]):
            raise _Refused(400, "invalid_dpop_proof", "The header must be of type dpop+jwt, with a public key alone.")
        if claims["htm"] != method or claims["htu"] != url.partition("?")[0]:
            raise _Refused(400, "invalid_dpop_proof", "The DPoP proof JWT is for another request.")
        if not isinstance(claims["iat"], (int, float)) or abs(claims["iat"] - now) > PROOF_AGE:
            raise _Refused(400, "invalid_dpop_proof", "The DPoP proof JWT is too old, or from the future.")
        if nonce_status is not None and claims.get("nonce") != self._nonce:
            headers = {"DPoP-Nonce": self._nonce, **(_challenge("use_dpop_nonce") if nonce_status == 401 else {})}
            raise _Refused(
                nonce_status, "use_dpop_nonce", "Authorization server requires nonce in DPoP proof.", headers
            )
        if token is not None and claims.get("ath") != _digest(token):
            raise _Refused(400, "invalid_dpop_proof", "The DPoP proof JWT is for another access token.")
        self._use_once(str(claims["jti"]), _Refused(400, "invalid_dpop_proof", "The DPoP proof JWT was already used."))
        return _thumbprint(public)

    def _use_once(self, jti: str, refused: _Refused) -> None:
        with self._lock:
            if jti in self._used:
                raise refused
            self._used.add(jti)


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'{"DPoP" if "dpop" in error else "Bearer"} error="{error}"'}


def _digest(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _thumbprint(public: Mapping[str, str]) -> str:
    """An id of the key itself: of the members that RFC 7638 takes, no others."""
    return _digest(repr(sorted(public.items())))
