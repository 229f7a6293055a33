"""What our objects of other people's kinds may look like, as JSON Schema: the fields that we use, and no others.

Kubernetes' own schemas don't know these kinds. Sources: the definitions of Gateway API 1.4, Strimzi 1.0, GKE's gateway policies, Google's
managed Prometheus and the Prometheus operator 0.85.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
_PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65_535}
_FLAG: Final[Schema] = {"type": "boolean"}
_PATH: Final[Schema] = {"type": "string", "pattern": "^/"}
_SIZE: Final[Schema] = {"type": "string", "pattern": "^[1-9][0-9]*[MG]i$"}
_SECONDS: Final[Schema] = {"type": "string", "pattern": "^[1-9][0-9]*s$"}
_DURATION: Final[Schema] = {"type": "string", "pattern": "^[1-9][0-9]*[smh]$"}
_WORDS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(optional: Schema | None = None, /, **required: Schema) -> Schema:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required), "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


_RESOURCES: Final = _object(
    requests={"type": "object", "additionalProperties": _TEXT},
    limits={"type": "object", "additionalProperties": _TEXT},
)
_SERVICE: Final = _object(group={"const": ""}, kind={"const": "Service"}, name=_NAME)

SPECS: Final[dict[str, Schema]] = {
    "gateway.networking.k8s.io/v1 Gateway": _object(
        {"addresses": _list(_object(type=_one_of("NamedAddress"), value=_NAME))},
        gatewayClassName=_NAME,
        listeners=_list(
            _object(
                {"tls": _object(mode=_one_of("Terminate"), options=_object(**{"networking.gke.io/cert-manager-certs": _NAME}))},
                name=_NAME,
                protocol=_one_of("HTTP", "HTTPS"),
                port=_PORT,
                allowedRoutes=_object(namespaces=_object({"from": _one_of("Same")})),
            )
        ),
    ),
    "gateway.networking.k8s.io/v1 HTTPRoute": _object(
        {"hostnames": _list(_NAME)},
        parentRefs=_list(_object({"sectionName": _NAME}, name=_NAME)),
        rules=_list(
            _object(
                {
                    "matches": _list(
                        _object({"method": _one_of("GET", "POST")}, path=_object(type=_one_of("Exact", "PathPrefix"), value=_PATH))
                    ),
                    "backendRefs": _list(_object(name=_NAME, port=_PORT)),
                    "filters": _list(
                        _object(
                            type=_one_of("RequestRedirect"),
                            requestRedirect=_object(scheme=_one_of("https"), statusCode={"const": 301}),
                        )
                    ),
                }
            )
        ),
    ),
    "networking.gke.io/v1 HealthCheckPolicy": _object(
        default=_object(
            {"checkIntervalSec": _COUNT, "timeoutSec": _COUNT, "healthyThreshold": _COUNT, "unhealthyThreshold": _COUNT},
            config=_object(
                type=_one_of("HTTP"),
                httpHealthCheck=_object(portSpecification=_one_of("USE_FIXED_PORT"), port=_PORT, requestPath=_PATH),
            ),
        ),
        targetRef=_SERVICE,
    ),
    "networking.gke.io/v1 GCPBackendPolicy": _object(
        default=_object(
            {"securityPolicy": _NAME},
            timeoutSec=_COUNT,
            connectionDraining=_object(drainingTimeoutSec=_COUNT),
            sessionAffinity=_object(type=_one_of("GENERATED_COOKIE"), cookieTtlSec={"type": "integer", "minimum": 1, "maximum": 1_209_600}),
        ),
        targetRef=_SERVICE,
    ),
    "kafka.strimzi.io/v1 KafkaNodePool": _object(
        {"jvmOptions": _object(**{"-Xms": _TEXT, "-Xmx": _TEXT}), "resources": _RESOURCES},
        replicas=_COUNT,
        roles=_list(_one_of("controller", "broker")),
        storage=_object(
            type=_one_of("jbod"),
            volumes=_list(
                _object(
                    {"kraftMetadata": _one_of("shared"), "deleteClaim": _FLAG},
                    id={"type": "integer", "minimum": 0},
                    type=_one_of("persistent-claim"),
                    size=_SIZE,
                )
            ),
        ),
    ),
    "kafka.strimzi.io/v1 Kafka": _object(
        kafka=_object(
            version=_TEXT,
            metadataVersion=_TEXT,
            listeners=_list(_object(name=_NAME, port=_PORT, type=_one_of("internal"), tls=_FLAG)),
            config={"type": "object", "propertyNames": {"pattern": "^[a-z]+([.][a-z]+)+$"}},
        )
    ),
    "monitoring.googleapis.com/v1 PodMonitoring": _object(
        selector=_object(matchLabels=_WORDS),
        endpoints=_list(_object(port=_NAME, path=_PATH, interval=_SECONDS)),
    ),
    "monitoring.googleapis.com/v1 Rules": _object(
        groups=_list(
            _object(
                name=_NAME,
                rules=_list(_object({"for": _DURATION}, alert=_TEXT, expr=_TEXT, labels=_WORDS, annotations=_WORDS)),
            )
        ),
    ),
    "monitoring.coreos.com/v1 PodMonitor": _object(
        selector=_object(matchLabels=_WORDS),
        podTargetLabels=_list(_TEXT),
        podMetricsEndpoints=_list(_object(port=_NAME, path=_PATH, interval=_SECONDS)),
    ),
}
