"""Answers the questions of `control.questions` with a controller's own client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timonel.client.discovery import ResourceIndex, ResourceInfo, split_api_version
from timonel.client.rest import Client
from timonel.client.transport import Unreachable
from timonel.control.questions import Answers, Inquiry, Question, Read, ResourceOf, Scaled, ScaleOf
from timonel.machinery.errors import InternalError, NotFound, ServiceUnavailable, StatusError
from timonel.objects.meta import Object

MOST_ROUNDS = 5  # of questions; a controller that goes on asking is not told any more


class Inquirer:
    """Asks for one controller."""

    def __init__(self, inquiry: Inquiry[Any], client: Client, index: ResourceIndex) -> None:
        self._inquiry, self._client, self._index = inquiry, client, index

    async def complete(self, desired: Object, seen: Any) -> Any:
        """What was observed, with the answers to all that is asked for."""
        answers: dict[Question, Any] = {}
        for _ in range(MOST_ROUNDS):
            fresh = [q for q in self._inquiry.questions(desired, seen) if q not in answers]
            if not fresh:
                break
            answers.update(await self._answers(fresh))
            seen = self._inquiry.told(seen, answers)
        return seen

    async def _answers(self, questions: Iterable[Question]) -> Answers:
        found: dict[Question, Any] = {}
        for question in questions:
            try:
                found[question] = await self._answer(question)
            except (StatusError, Unreachable, LookupError) as exc:
                found[question] = exc
        return found

    async def _answer(self, question: Question) -> Any:
        match question:
            case ResourceOf():
                return self._find(question.api_version, question.kind).resource
            case ScaleOf():
                info = self._find(question.api_version, question.kind)
                resource = f"{info.resource.plural}.{info.resource.version}.{info.resource.group}"
                scale = await self._client.get(resource, question.key, subresource="scale")
                return Scaled(resource, scale)
            case Read():
                try:
                    return await self._client.transport.raw("GET", question.path, query=dict(question.query))
                except StatusError as exc:
                    error = _in_general(exc)
                    if error is None or not question.what:
                        raise
                    # Nobody serves this: clients say what they had asked for.
                    raise type(error)(f"{error.message} ({question.what})") from exc

    def _find(self, api_version: str, kind: str) -> ResourceInfo:
        info = self._index.by_kind(api_version, kind)
        if info is None:
            group, version = split_api_version(api_version)
            where = f'in version "{group}/{version}"' if group else f'in version "{version}"'
            raise LookupError(f'no matches for kind "{kind}" {where}')
        return info


def _in_general(error: StatusError) -> StatusError | None:
    """What is said of a code whose answer is no Status; None where the answer says more itself.

    Upstream: errors.NewGenericServerResponse.
    """
    says_nothing = isinstance(error, InternalError) or (
        isinstance(error, NotFound) and "name" not in error.details
    )
    if error.status_code == NotFound.code and says_nothing:
        return NotFound("the server could not find the requested resource")
    if error.status_code == ServiceUnavailable.code and says_nothing:
        return ServiceUnavailable("the server is currently unable to handle the request")
    return None
