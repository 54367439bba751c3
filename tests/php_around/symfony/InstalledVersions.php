<?php

namespace Composer;

/** Debian's packages come without Composer's list of what is installed, which Symfony asks. */
class InstalledVersions
{
    public static function isInstalled(string $name, bool $includeDevRequirements = true): bool
    {
        return false;
    }
}
