"""The commands that mend what is wrong with the topics, as they must be typed here."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from ticketmaster.broker.kafka.settings import KafkaSettings


class Remedies(NamedTuple):
    """Command lines for one cluster. Ours take the properties file that was given; Kafka's own want one in Java's form if it is secured."""

    bootstrap_servers: str
    config_file: Path | None = None
    secured: bool = False

    @classmethod
    def of(cls, kafka: KafkaSettings, config_file: Path | None) -> Remedies:
        """Of the cluster that these settings are for."""
        return cls(kafka.bootstrap_servers, config_file, kafka.security.protocol != "PLAINTEXT")

    def topics(self, command: str) -> str:
        """A command of ``ticketmaster topics``."""
        return self._own(f"topics {command}")

    def schemas(self, command: str) -> str:
        """A command of ``ticketmaster schemas``."""
        return self._own(f"schemas {command}")

    def delete(self, topic: str) -> str:
        """Deletes a topic with all that is in it, and makes it anew."""
        return f"{self._kafka('kafka-topics.sh')} --delete --topic {shlex.quote(topic)} && {self.topics('create')}"

    def find_lagging_replicas(self, topic: str) -> str:
        """Shows which broker has not all of a topic: it must be started, or waited for."""
        return f"{self._kafka('kafka-topics.sh')} --describe --under-replicated-partitions --topic {shlex.quote(topic)}"

    def _own(self, command: str) -> str:
        return f"ticketmaster {command}{f' -c {shlex.quote(str(self.config_file))}' if self.config_file else ''}"

    def _kafka(self, script: str) -> str:
        config = f" --command-config {shlex.quote(str(self.config_file))}" if self.secured and self.config_file else ""
        return f"{script} --bootstrap-server {shlex.quote(self.bootstrap_servers)}{config}"
