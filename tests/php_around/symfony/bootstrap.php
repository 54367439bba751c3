<?php
// As much of a Symfony application as the example needs, with the framework as Debian packages it.

error_reporting(E_ALL & ~E_DEPRECATED);
set_include_path(getenv('PHP_SHARE'));
require_once 'Symfony/Bundle/FrameworkBundle/autoload.php';
require_once 'Symfony/Component/Messenger/autoload.php';
require_once 'Symfony/Component/Webhook/autoload.php';
require_once 'Symfony/Component/Yaml/autoload.php';
require_once 'Symfony/Component/Console/autoload.php';
require_once 'Symfony/Component/Messenger/Bridge/Doctrine/autoload.php';
require_once 'Doctrine/DBAL/autoload.php';
require_once 'Doctrine/Persistence/autoload.php';
require_once __DIR__.'/InstalledVersions.php';
spl_autoload_register(function (string $class): void {
    $file = __DIR__.'/src/'.str_replace('\\', '/', substr($class, 4)).'.php';
    if (str_starts_with($class, 'App\\') && is_file($file)) {
        require $file;
    }
});
