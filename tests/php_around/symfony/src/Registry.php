<?php

namespace App;

use Doctrine\DBAL\Connection;
use Doctrine\Persistence\ConnectionRegistry;

/** What DoctrineBundle would tell the Doctrine transport of Messenger: the one connection. */
final class Registry implements ConnectionRegistry
{
    public function __construct(private readonly Connection $connection)
    {
    }

    public function getDefaultConnectionName(): string
    {
        return 'default';
    }

    public function getConnection(?string $name = null): object
    {
        return $this->connection;
    }

    public function getConnections(): array
    {
        return ['default' => $this->connection];
    }

    public function getConnectionNames(): array
    {
        return ['default' => 'default'];
    }
}
