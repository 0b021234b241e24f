"""The deployment examples: they parse, and agree with the client, the exporter and each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from pipeline.config import Export

DEPLOY = Path(__file__).parent.parent / "serving" / "deploy"
_Field = descriptor_pb2.FieldDescriptorProto


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def message(name: str, **fields: tuple[int, str]) -> Any:
    """A message that the pip package lacks, with the fields that TensorFlow Serving's own has.

    Args:
        name: of the message.
        fields: number and type of each; a type with a dot is a message of that name.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"test/{name}.proto", package="test", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    described = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        repeated = kind.endswith("*")
        label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        if "." in kind:
            described.field.add(name=field, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=kind)
        else:
            described.field.add(name=field, number=number, label=label, type=getattr(_Field, kind.rstrip("*")))
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))()


def models_config() -> model_server_config_pb2.ModelServerConfig:
    return text_format.Parse(read("models.config"), model_server_config_pb2.ModelServerConfig())


def test_two_versions_of_the_exporters_model_are_served_under_two_labels() -> None:
    (model,) = models_config().model_config_list.config
    assert model.name == Export().model_name
    assert model.base_path == f"/models/{model.name}"
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 2, "sessions of the version before would lose their gate"
    assert set(model.version_labels) == {"stable", "canary"}


def test_batches_are_padded() -> None:
    """Fields as in tensorflow_serving/servables/tensorflow/session_bundle_config.proto."""
    number = ".google.protobuf.Int64Value"
    parameters = message(
        "BatchingParameters",
        max_batch_size=(1, number),
        batch_timeout_micros=(2, number),
        max_enqueued_batches=(3, number),
        num_batch_threads=(4, number),
        thread_pool_name=(5, ".google.protobuf.StringValue"),
        allowed_batch_sizes=(6, "TYPE_INT64*"),
        pad_variable_length_inputs=(7, "TYPE_BOOL"),
    )
    text_format.Parse(read("batching.config"), parameters)
    assert parameters.pad_variable_length_inputs, "sessions differ in length"
    assert parameters.max_batch_size.value > 1
    assert parameters.num_batch_threads.value >= 1
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batchsize { value: 1 }", parameters)


def test_metrics_are_where_prometheus_looks() -> None:
    """Fields as in tensorflow_serving/config/monitoring_config.proto."""
    prometheus = message("PrometheusConfig", enable=(1, "TYPE_BOOL"), path=(2, "TYPE_STRING"))
    inner = re.search(r"prometheus_config \{(.*)\}", read("monitoring.config"), re.DOTALL)
    assert inner
    text_format.Parse(inner.group(1), prometheus)
    assert prometheus.enable
    deployment, _ = kubernetes()
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == prometheus.path
    assert f"--rest_api_port={annotations['prometheus.io/port']}" in container()["args"]


def kubernetes() -> list[dict[str, Any]]:
    deployment, service = yaml.safe_load_all(read("kubernetes.yaml"))
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    return [deployment, service]


def container() -> dict[str, Any]:
    (only,) = kubernetes()[0]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_compose_and_kubernetes_start_the_server_alike() -> None:
    compose = yaml.safe_load(read("compose.yaml"))["services"]["ranking"]
    assert compose["image"] == container()["image"]
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", compose["image"]), "a version that stays the same"
    assert compose["entrypoint"] == container()["command"]
    # looking for versions each second is the server's default
    assert set(compose["command"]) - set(container()["args"]) == {"--file_system_poll_wait_seconds=1"}
    mounted = {volume.rpartition(":")[0].rpartition(":")[2] for volume in compose["volumes"]}
    for argument in compose["command"]:
        _, _, path = argument.partition("=")
        if path.startswith("/"):
            assert path in mounted, f"{argument} is not mounted"
            assert (DEPLOY / Path(path).name).is_file()
    (model,) = models_config().model_config_list.config
    assert str(Path(model.base_path).parent) in mounted
    assert all(port.startswith("127.0.0.1:") for port in compose["ports"])


def test_the_pods_are_found_probed_and_bounded() -> None:
    deployment, service = kubernetes()
    assert service["spec"]["clusterIP"] == "None", "the client balances: it needs the addresses of all pods"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    assert f"--port={ports['grpc']}" in container()["args"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container()[probe]["httpGet"] == {"path": "/v1/models/awmoe", "port": "rest"}
    assert container()["livenessProbe"]["tcpSocket"]["port"] == "grpc"
    assert container()["resources"]["requests"]["cpu"]
    assert container()["resources"]["limits"]["memory"]
    generated = yaml.safe_load(read("kustomization.yaml"))
    (config,) = generated["configMapGenerator"]
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert config["name"] == volumes["config"]["configMap"]["name"]
    assert all((DEPLOY / name).is_file() for name in [*config["files"], *generated["resources"]])
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes.keys()


def test_the_readme_names_every_file() -> None:
    files = {path.name for path in DEPLOY.iterdir()} - {"README.md"}
    assert files == set(re.findall(r"`([\w.]+\.(?:config|yaml))`", read("README.md")))
