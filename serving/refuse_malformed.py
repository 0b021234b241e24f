"""Answers messages that are no messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError


class RefuseMalformed(grpc.ServerInterceptor):
    """INVALID_ARGUMENT for bytes that are not the method's message, where gRPC would answer INTERNAL."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The method's handler, with a decoder that does not raise."""
        handler: Any = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        decode, answer = handler.request_deserializer, handler.unary_unary

        def try_decode(message: bytes) -> Any:
            try:
                return decode(message)
            except DecodeError as error:
                return error

        def answer_decoded(request: Any, context: grpc.ServicerContext) -> Any:
            if isinstance(request, DecodeError):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is damaged: not what the method takes")
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer_decoded, request_deserializer=try_decode, response_serializer=handler.response_serializer
        )
