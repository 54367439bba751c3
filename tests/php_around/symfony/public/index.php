<?php

use Symfony\Component\HttpFoundation\Request;

require dirname(__DIR__).'/bootstrap.php';
$kernel = new App\Kernel('prod', false);
$response = $kernel->handle($request = Request::createFromGlobals());
$response->send();
$kernel->terminate($request, $response);
