<?php

require __DIR__.'/bootstrap.php';
(new Symfony\Bundle\FrameworkBundle\Console\Application(new App\Kernel('prod', false)))->run();
